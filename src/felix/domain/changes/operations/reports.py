"""Reports, and schedules: what is worked out, and what happens at certain times."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bounds

from felix.domain.apps.base import SpecName
from felix.domain.apps.behaviour import Cron, RunModule, RunReport, Schedule, Zone
from felix.domain.apps.spelling import plain
from felix.domain.apps.surfaces import Report
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft, switch
from felix.domain.changes.words import Words, quoted


class _OfReport(Drawn):
    report: SpecName
    definition: Report

    @property
    def _path(self) -> str:
        return f"reports/{self.report}.json"


class AddReport(_OfReport):
    """Add a table of figures."""

    op: Literal["add_report"] = "add_report"

    def draw(self, draft: Draft) -> None:
        draft.add(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        return f"Adds the report {quoted(self.definition.title)} of {words.entity(self.definition.entity)}"


class SetReport(_OfReport):
    """Say anew what is in a report."""

    op: Literal["set_report"] = "set_report"

    def draw(self, draft: Draft) -> None:
        draft.file(self._path)
        draft.put(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        return f"Changes what is in the report {words.title('reports', self.report)}"


class _OfSchedule(Drawn):
    schedule: SpecName

    @property
    def _path(self) -> str:
        return f"schedules/{self.schedule}.json"

    def _said(self, words: Words) -> str:
        return f"the schedule {words.title('schedules', self.schedule)}"


class AddSchedule(_OfSchedule):
    """Let a report be made, or a module do its work, at certain times."""

    op: Literal["add_schedule"] = "add_schedule"
    definition: Schedule

    def draw(self, draft: Draft) -> None:
        draft.add(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        definition = self.definition
        at = f"at '{definition.cron}' ({definition.zone})"
        return f"Adds the schedule {quoted(definition.title)}, which {_job(definition.job, words)} {at}"


class SetSchedule(_OfSchedule):
    """Change when a schedule runs, or what. What is not given stays as it is."""

    op: Literal["set_schedule"] = "set_schedule"
    cron: Cron | None = None
    zone: Zone | None = None
    job: Annotated[RunReport | RunModule, Bounds(discriminator="run")] | None = None

    def draw(self, draft: Draft) -> None:
        content = draft.file(self._path)
        given = {"cron": self.cron, "zone": self.zone, "job": None if self.job is None else plain(self.job)}
        content.update({name: value for name, value in given.items() if value is not None})
        if self.job is not None or self.cron is not None or self.zone is not None:
            draft.put(self._path, plain(Schedule.model_validate(content)))

    def sentence(self, words: Words) -> str:
        times = [f"at '{self.cron}'"] if self.cron is not None else []
        times += [f"in the zone {self.zone}"] if self.zone is not None else []
        job = [] if self.job is None else [_job(self.job, words)]
        return f"Changes {self._said(words)}: it {' '.join([*(job or ['runs']), *times])}"


class EnableSchedule(_OfSchedule):
    """Switch a schedule on."""

    op: Literal["enable_schedule"] = "enable_schedule"

    def draw(self, draft: Draft) -> None:
        switch(draft.file(self._path), "enabled", True, usually=True)

    def sentence(self, words: Words) -> str:
        return f"Switches {self._said(words)} on"


class DisableSchedule(_OfSchedule):
    """Switch a schedule off, and keep it."""

    op: Literal["disable_schedule"] = "disable_schedule"

    def draw(self, draft: Draft) -> None:
        switch(draft.file(self._path), "enabled", False, usually=True)

    def sentence(self, words: Words) -> str:
        return f"Switches {self._said(words)} off"


def _job(job: RunReport | RunModule, words: Words) -> str:
    if isinstance(job, RunReport):
        return f"makes the report {words.title('reports', job.report)}"
    return f"runs {quoted(job.handler)} of the module {job.module}"
