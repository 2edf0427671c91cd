"""What `/readyz` says: each thing that matters, whether it is as it should be, and what to do when it is not.

A check that is ``needed`` takes the process out of service when it fails. Only what makes commands impossible or wrong
is: read models that are behind, a stopped job or a lost Valkey concern every process at once, and taking them all away
would turn old answers into no answers, and stop the money with the pages.

Everybody may ask, so what is as it should be has no figures: they would tell one client how much the others do.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from felix.projections.vital_signs import VitalSigns

#: Events, and seconds, that a read model may be behind before it is worth a look.
LAG_ALARM_EVENTS, LAG_ALARM_S = 10_000, 60.0
#: A job that nobody has begun so long after its time is overdue.
OVERDUE_ALARM_S = 300.0
SKEW_ALARM_S = 2.0
#: Commands carry this process's time, and an account's time never goes back: one that is so wrong must take none.
MAX_SKEW_S = 60.0
DISK_ALARM_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. ``detail`` is a sentence; when not ok it says what to do."""

    name: str
    ok: bool
    detail: str
    needed: bool = False


def answer_of(checks: list[Check]) -> dict[str, Any]:
    """The body of `/readyz`."""
    ready = all(check.ok for check in checks if check.needed)
    return {"status": "ready" if ready else "not ready", "checks": [asdict(check) for check in checks]}


def checks_of(signs: VitalSigns | str, valkey_answers: bool | None, data_dir: Path) -> list[Check]:
    """Every check. ``signs`` is a sentence when the database did not answer; ``valkey_answers`` None without Valkey."""
    outside = [valkey(valkey_answers), disk(data_dir)]
    if isinstance(signs, str):
        detail = f"{signs} No command is taken until it is back; nothing that was accepted is lost."
        return [Check("database", False, detail, needed=True), *outside]
    found = [Check("database", True, "answers", needed=True), migrations(signs)]
    if signs.pending == []:
        found += [log(signs), projections(signs), poisoned(signs), worker(signs), jobs(signs), verification(signs)]
    if signs.model_can_be_paid is not None:
        found.append(planner_model(signs.model_can_be_paid))
    return [*found, *outside, clock(signs)]


def migrations(signs: VitalSigns) -> Check:
    """Whether the tables are those of this release."""
    if signs.pending == []:
        return Check("migrations", True, "up to date", needed=True)
    many = "some are" if signs.pending is None else f"{len(signs.pending)} {_are(len(signs.pending))}"
    return Check("migrations", False, f"{many} pending: run `felix migrate`", needed=True)


def log(signs: VitalSigns) -> Check:
    """Whether each partition's head is its last event: a log that disagrees with itself takes nothing more."""
    wrong = [str(partition) for partition, (head, last) in signs.heads.items() if head != last]
    if not wrong:
        return Check("log", True, "every partition ends where its head says", needed=True)
    return Check(
        "log",
        False,
        f"the head of partition {', '.join(wrong)} is not its last event: stop writing and run `felix verify ledger`",
        needed=True,
    )


def projections(signs: VitalSigns) -> Check:
    """Whether the read models keep up, and none is ahead of the log, as after a restore of one without the other."""
    ahead = [lag for lag in signs.lags if lag.lag_events < 0]
    if ahead:
        names = ", ".join(sorted({lag.projection for lag in ahead}))
        return Check("projections", False, f"{names} is ahead of the log: run `felix projections rebuild` for it")
    late = [lag for lag in signs.lags if lag.lag_events > LAG_ALARM_EVENTS or lag.age_s > LAG_ALARM_S]
    if not late:
        return Check("projections", True, "none is far behind")
    told = {}
    for lag in sorted(late, key=lambda lag: lag.lag_events):
        told[lag.projection] = (
            f"{lag.projection} is {lag.lag_events:,} events and {lag.age_s:.0f} s behind in partition {lag.partition}"
        )
    return Check("projections", False, f"{'; '.join(told.values())}: `felix projections lag` shows whether it moves")


def poisoned(signs: VitalSigns) -> Check:
    """Whether a projection has stopped for somebody."""
    if not signs.poisoned:
        return Check("poisoned", True, "no projection has stopped for any tenant")
    told = [
        f"{each.projection} has stopped for {each.tenants} tenant{'s' * (each.tenants != 1)} ({each.error})"
        for each in signs.poisoned
    ]
    return Check("poisoned", False, f"{'; '.join(told)}: `felix projections list` shows the events")


def worker(signs: VitalSigns) -> Check:
    """Whether anybody retells: connected, and moving where there is something to move past."""
    if not signs.retold:
        detail = "no worker is connected: `felix up` starts one, and so does `python -m felix.worker`"
        return Check("worker", False, detail)
    frozen = [lag for lag in signs.lags if lag.age_s > LAG_ALARM_S and lag.moved_s > LAG_ALARM_S]
    if frozen:
        still_s = max(lag.moved_s for lag in frozen)
        detail = f"the worker is connected and has not moved for {still_s:.0f} s: read its log, then restart it"
        return Check("worker", False, detail)
    return Check("worker", True, "connected")


def jobs(signs: VitalSigns) -> Check:
    """Whether what is due is done, and nothing was given up."""
    dead = signs.jobs.get("dead", 0)
    wrong = []
    if signs.overdue_s > OVERDUE_ALARM_S:
        wrong.append(f"a job is overdue by {signs.overdue_s:.0f} s: is the worker running? `felix jobs list` shows it")
    if dead:
        wrong.append(
            f"{dead} {_are(dead)} dead: `felix jobs list --state dead` says why, `felix jobs retry` tries again"
        )
    return Check("jobs", not wrong, "; ".join(wrong) or "none is overdue or dead")


def verification(signs: VitalSigns) -> Check:
    """What the last look at the books found."""
    last = signs.verification
    if last is None:
        return Check("verification", True, "the ledger was not verified yet: it is, every night")
    at = f"{last.finished_at:%Y-%m-%d %H:%M} UTC"
    if last.problems is None:
        detail = f"the verification of {at} did not end ({last.error}): run `felix verify ledger`"
        return Check("verification", False, detail)
    if last.problems:
        detail = f"the verification of {at} found {last.problems} violations: `felix verify ledger` shows them"
        return Check("verification", False, detail)
    return Check("verification", True, f"nothing was wrong on {at}")


def planner_model(can_be_paid: bool) -> Check:
    """Whether anybody can ask the language model that is set; what has no price is refused."""
    if can_be_paid:
        return Check("planner model", True, "can be asked")
    detail = (
        "FELIX_PLANNER_MODEL has no price on any client's rate card, so it is not asked: publish prices of"
        " llm.input_tokens and llm.output_tokens for it with `felix rates publish`"
    )
    return Check("planner model", False, detail)


def valkey(answers: bool | None) -> Check:
    """Whether Valkey is there; nothing depends on it."""
    if answers is None:
        return Check("valkey", True, "not used")
    if answers:
        return Check("valkey", True, "answers")
    return Check(
        "valkey", False, "does not answer: nothing is lost, read models and jobs are a little later until it is back"
    )


def disk(data_dir: Path) -> Check:
    """Whether there is room where the data is; with a database elsewhere, where the logs are."""
    used = disk_of(data_dir)
    free = f"{used.free / 2**30:.1f} GiB free"
    if used.free < DISK_ALARM_BYTES:
        return Check("disk", False, f"{free} at {data_dir.name}: make room before Postgres stops, see docs/alerts.md")
    return Check("disk", True, "there is room")


def disk_of(data_dir: Path) -> Any:
    """Size and free bytes of the file system that the directory is on, or will be."""
    existing = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    return shutil.disk_usage(existing)


def clock(signs: VitalSigns) -> Check:
    """Whether this machine and the database's agree about the time; commands carry the time of this one."""
    if abs(signs.skew_s) <= SKEW_ALARM_S:
        return Check("clock", True, f"{abs(signs.skew_s):.1f} s from the database's")
    where = "behind" if signs.skew_s > 0 else "ahead of"
    detail = f"this machine is {abs(signs.skew_s):.1f} s {where} the database: is NTP running on both?"
    return Check("clock", False, detail, needed=abs(signs.skew_s) > MAX_SKEW_S)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
