"""What a scrape says, as a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from running_felix import RunningFelix


@dataclass(frozen=True)
class Scrape:
    """The samples of one answer."""

    samples: tuple[Sample, ...]

    @classmethod
    def of_text(cls, text: str) -> Scrape:
        return cls(tuple(sample for family in text_string_to_metric_families(text) for sample in family.samples))

    @classmethod
    def of(cls, running: RunningFelix) -> Scrape:
        """Ask a process of a running Felix, on a connection of its own: whichever takes it answers."""
        token = (running.data_dir / "metrics-token").read_text().strip()
        sent = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{running.url}/metrics", headers=sent, trust_env=False, verify=False)
        assert answer.status_code == 200, answer.text
        return cls.of_text(answer.text)

    def matching(self, name: str, **labels: str) -> Iterator[Sample]:
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def sum(self, name: str, **labels: str) -> float:
        """The sum over all other labels; 0 when there is none."""
        return sum(sample.value for sample in self.matching(name, **labels))

    def values(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {sample.labels[label] for sample in self.matching(name)}

    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}
