"""``felix doctor``: what is the case with this installation, what that means, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from felix.cli.options import Showing
from felix.cli.output import print_json

if TYPE_CHECKING:
    from felix.cli.doctoring import Finding


def doctor(*, showing: Showing | None = None) -> int:
    """Check everything here and say what to do about what is wrong.

    Works whether Felix runs or not, with its own services and with yours, changes nothing, and takes seconds. The exit
    code is 1 when there is a problem; warnings alone leave it at 0.
    """
    from felix.cli.doctoring import Examination, examine

    showing = showing or Showing()
    found: list[tuple[str, Finding]] = []
    for name, finding in examine(Examination()):
        found.append((name, finding))
        if not showing.json:
            _print(name, finding)
    counts = {level: sum(finding.level == level for _, finding in found) for level in ("problem", "warning")}
    if showing.json:
        print_json(
            {
                "healthy": not any(counts.values()),
                "problems": counts["problem"],
                "warnings": counts["warning"],
                "findings": [{"check": name} | asdict(finding) for name, finding in found],
            }
        )
    else:
        told = [f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items() if count]
        print(f"\n{' and '.join(told)}." if told else "\nEverything is as it should be.")
    return 1 if counts["problem"] else 0


def _print(name: str, finding: Finding) -> None:
    print(f"{finding.level:<8} {name:<17} {finding.case}", flush=True)
    for line in (finding.meaning, f"> {finding.remedy}" if finding.remedy else ""):
        if line:
            print(f"{'':<8} {'':<17} {line}")
