"""``felix projections``: how the read models are, and rebuilding them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Showing, new_key
from felix.cli.output import console, print_json, print_table
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.projections.base import Projection
    from felix.projections.rebuild import Progress

app = App(name="projections", help="Show how the read models are, rebuild them, and retry what they stopped for.")

#: Between two looks of `--watch`, and at a rebuild that somebody else does.
LOOK_EVERY_S = 0.5
#: Between two lines of progress where nobody watches a terminal.
SAY_EVERY_S = 5.0


@app.command(name="list")
def list_projections(*, showing: Showing | None = None) -> int:
    """List the read models: how far each is, whom it stopped for and why, and how its last rebuild ended.

    The exit code is 1 when one of them stopped for somebody, or a rebuild was refused or failed.
    """
    from felix.projections.overview import alarms

    showing = showing or Showing()
    with open_session() as session:
        rows = _overview(session)
    told = alarms(rows)
    if showing.json:
        print_json({"projections": rows, "alarms": told})
    else:
        for row in rows:
            row["last_rebuild"] = row["rebuild"]["state"] if row["rebuild"] else None
        names = ("projection", "version", "feed", "retold", "lag_events", "stopped", "last_rebuild")
        print_table(rows, {name: name.replace("_", " ") for name in names}, empty="There are no read models yet.")
        for line in told:
            print(f"\n{line}")
    return 1 if told else 0


@app.command
def lag(
    name: str | None = None,
    *,
    watch: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    showing: Showing | None = None,
) -> None:
    """Show how many events each read model is behind, by partition.

    Parameters
    ----------
    name
        Only this read model.
    watch
        Show it again twice a second, until Ctrl-C.
    """
    showing = showing or Showing()
    with open_session() as session:
        while True:
            rows = [
                {"projection": row["projection"], **partition}
                for row in _overview(session, name)
                for partition in row["partitions"]
            ]
            if showing.json:
                print_json(rows)
            else:
                if watch and sys.stdout.isatty():
                    console().clear()
                print_table(rows, {key: key.replace("_", " ") for key in rows[0]} if rows else {}, empty="Nothing.")
            if not watch:
                return
            sys.stdout.flush()
            time.sleep(LOOK_EVERY_S)


@app.command
def rebuild(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative="", show_default=False)] = False,
    accept_difference: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    processes: int | None = None,
    showing: Showing | None = None,
) -> int:
    """Make read models anew from the beginning, beside those that are read, and switch when both are the same.

    Felix goes on meanwhile, and readers see no gap. Where the rows differ nothing is switched, and both are kept: the
    exit code is 1, and what differs is named. After an interruption the same command goes on where it was.

    Parameters
    ----------
    names
        The read models, as `felix projections list` names them.
    all_
        All of them, one after the other.
    accept_difference
        Switch even where the rows differ.
    processes
        Processes that fold a long log. Default: one a core.
    """
    from felix.projections.registry import PROJECTIONS

    showing = showing or Showing()
    if all_ == bool(names):
        raise UsageError("Name read models, or give --all.")
    known = {projection.name: projection for projection in PROJECTIONS}
    chosen = list(known) if all_ else list(names)
    if unknown := [name for name in chosen if name not in known]:
        raise UsageError(f"There is no read model {', '.join(unknown)}; there are {', '.join(known)}.")
    cores = processes or len(os.sched_getaffinity(0))
    with open_session() as session, _progress(quiet=showing.json) as report:
        ended = [_rebuild(session, known[name], accept_difference, cores, report) for name in chosen]
    if showing.json:
        print_json(ended)
    else:
        for each in ended:
            print(f"{each['projection']}: {each['state']}. {each['detail']}")
            for line in each["differences"]:
                print(f"  {line}")
    return 0 if all(each["state"] == "done" for each in ended) else 1


@app.command
def retry(name: str, *, tenant: str | None = None, showing: Showing | None = None) -> None:
    """Try what a read model stopped for again, at once instead of by and by.

    Parameters
    ----------
    name
        The read model, as `felix projections list` names it.
    tenant
        Only this client, by short name or id.
    """
    from felix import bootstrap

    showing = showing or Showing()
    with open_session() as session:
        tenant_id = session.tenant(tenant).tenant_id if tenant else None
        tried = bootstrap.projection_orders(session.endpoints).retry(name, tenant_id)
    if showing.json:
        print_json({"projection": name, "tried_again": tried})
    elif tried:
        print(f"{name} tries {tried} {'client' if tried == 1 else 'clients'} again: felix projections list")
    else:
        print(f"{name} has not stopped for anybody.")


def _overview(session: Session, name: str | None = None) -> list[dict[str, Any]]:
    from felix.projections import overview
    from felix.projections.registry import FOLLOWING

    rows = session.ask_as_founder(lambda tx: overview.projections(tx, FOLLOWING))
    return [row for row in rows if name is None or row["projection"] == name]


def _rebuild(
    session: Session,
    projection: Projection,
    accept_difference: bool,
    processes: int,
    report: Callable[[Progress], None],
) -> dict[str, Any]:
    """Do it here, or watch where another process is at it already."""
    from felix import bootstrap
    from felix.projections.rebuild import NotRequested, Rebuild, RebuildUnderWay

    orders = bootstrap.projection_orders(session.endpoints)
    orders.rebuild(projection.name, "founder:cli", new_key(), accept_difference=accept_difference)
    url = session.endpoints.as_role("felix_projector")
    try:
        done = Rebuild(url, projection, processes=processes, report=report).run()
    except (RebuildUnderWay, NotRequested):
        return _watch(session, projection.name, report)
    assert done is not None
    return {
        "projection": done.projection,
        "state": done.state,
        "detail": done.detail,
        "differences": done.differences,
    }


def _watch(session: Session, name: str, report: Callable[[Progress], None]) -> dict[str, Any]:
    from felix.projections.overview import UNDER_WAY
    from felix.projections.rebuild import Progress

    while True:
        (row,) = _overview(session, name)
        rebuild_ = row["rebuild"]
        if rebuild_["state"] not in UNDER_WAY:
            return {"projection": name} | {key: rebuild_[key] for key in ("state", "detail", "differences")}
        report(Progress(name, rebuild_["state"], rebuild_["retold"] or 0, rebuild_["total"] or 0))
        time.sleep(LOOK_EVERY_S)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar for each rebuild with its rate and the time left; lines where nobody watches a terminal."""
    if quiet:
        yield lambda progress: None
    elif not console(stderr=True).is_terminal:
        yield _say_sometimes()
    else:
        with _bars() as report:
            yield report


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    rate = TextColumn("{task.fields[rate]:,.0f} events/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    began: dict[str, tuple[float, int]] = {}
    with Bars(*columns, console=console(stderr=True)) as bars:

        def report(progress: Progress) -> None:
            name, now = progress.projection, time.monotonic()
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=progress.total, rate=0.0)
                began[name] = (now, progress.events)
            if progress.state != "folding":
                bars.update(tasks[name], description=f"{name} ({progress.state})")
                return
            since, first = began[name]
            rate_s = (progress.events - first) / max(0.001, now - since)
            bars.update(tasks[name], completed=progress.events, total=progress.total, rate=rate_s)

        yield report


def _say_sometimes() -> Callable[[Progress], None]:
    said: dict[str, tuple[str, float]] = {}
    began: dict[str, tuple[float, int]] = {}

    def report(progress: Progress) -> None:
        name, now = progress.projection, time.monotonic()
        since, first = began.setdefault(name, (now, progress.events))
        state, at = said.get(name, ("", 0.0))
        if state == progress.state and now - at < SAY_EVERY_S:
            return
        said[name] = (progress.state, now)
        line = f"{name}: {progress.state}"
        if progress.state == "folding":
            rate_s = (progress.events - first) / max(0.001, now - since)
            left_s = (progress.total - progress.events) / rate_s if rate_s else 0.0
            line += f" {progress.events:,} of {progress.total:,} events, {rate_s:,.0f}/s, {left_s:.0f} s left"
        print(line, file=sys.stderr, flush=True)

    return report
