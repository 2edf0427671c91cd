"""The checks of ``felix doctor``: small functions in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from felix.cli.doctoring import backups, configuration, database, directory, machine, processes, valkey, work
from felix.cli.doctoring.examination import Examination, Limits
from felix.cli.doctoring.findings import Finding, Findings

#: Each needs what stands before it: nothing, settings that can be read, a database that answers, this code's tables.
Needs = Literal["nothing", "settings", "database", "tables"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at; its docstring says what should be the case."""

    look: Callable[[Examination], Findings]
    needs: Needs

    @property
    def name(self) -> str:
        """What it is called."""
        return self.look.__name__.replace("_", " ")


CHECKS: tuple[Check, ...] = (
    Check(machine.python, "nothing"),
    Check(configuration.settings, "nothing"),
    Check(configuration.unknown_settings, "settings"),
    Check(configuration.contradictions, "settings"),
    Check(machine.binaries, "settings"),
    Check(machine.memory, "nothing"),
    Check(machine.open_files, "nothing"),
    Check(machine.disk, "settings"),
    Check(directory.data_directory, "settings"),
    Check(directory.secrets, "settings"),
    Check(directory.leftovers, "settings"),
    Check(processes.processes, "settings"),
    Check(processes.port, "settings"),
    Check(processes.api, "settings"),
    Check(valkey.valkey, "settings"),
    Check(database.database, "settings"),
    Check(database.migrations, "database"),
    Check(database.partitions, "database"),
    Check(database.clock, "database"),
    Check(database.read_models, "database"),
    Check(work.worker, "tables"),
    Check(work.poison, "tables"),
    Check(work.jobs, "tables"),
    Check(work.books, "tables"),
    Check(work.planner_model, "tables"),
    Check(backups.backups, "settings"),
)


def examine(examination: Examination) -> Iterator[tuple[str, Finding]]:
    """Make every check that can be made; what one of them found missing is not told again by those that need it."""
    for check in CHECKS:
        if _can_be_made(check, examination):
            for finding in check.look(examination):
                yield check.name, finding


def _can_be_made(check: Check, examination: Examination) -> bool:
    if check.needs == "nothing":
        return True
    if examination.unreadable_settings is not None:
        return False
    if check.needs == "settings":
        return True
    found = examination.database
    if found is None or isinstance(found, Exception):
        return False
    return check.needs == "database" or examination.signs is not None


__all__ = ["CHECKS", "Check", "Examination", "Finding", "Limits", "examine"]
