"""What has to be so of a change that is over, whoever was killed on the way."""

from __future__ import annotations

from collections.abc import Iterator

from yard import PLACE, TENANT, TOKENS_MTOK, Yard

from felix import bootstrap
from felix.adapters.repositories import AppRepository
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.errors import FelixError
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.app_pointers import POINTER, AppPointer
from felix.eventstore.connections import connect

_HELD = "select count(*) from felix.effects where partition = %s and tenant_id = %s and state = 'held' and app = %s"


def violations(yard: Yard, change_id: str, first_release: str, state: str) -> Iterator[str]:
    """Everything that is not as it should be."""
    change = yard.change(change_id)
    environment = yard.environment(change)
    events = yard.aggregates.events(PLACE, Change, change_id)  # raises where a version is missing
    if change.state != state:
        yield f"the change is {change.state}"
    runs = change.release if state == "deployed" else first_release
    if environment.stable != runs:
        yield f"{environment.stable} runs"
    if environment.lock is not None or environment.candidate is not None or environment.queue:
        yield "the environment is not free"
    with connect(bootstrap.Endpoints(str(yard.database), None, None).writer_url) as connection:
        asked = (*PLACE, change.app, change.environment)
        (row,) = connection.execute(POINTER, asked).fetchall()
        ((held,),) = connection.execute(_HELD, (*PLACE, change.app)).fetchall()
    pointer = AppPointer.of(row)
    if (pointer.stable, pointer.candidate, pointer.deployment_id) != (runs, None, None):
        yield f"the pointer is {pointer}"
    if held:
        yield f"{held} effects are held"
    yield from _money(yard, change)
    settled = [event for event in events if event.type == m.TokensSettled.TOPIC and event.payload["step"] == "deploy"]
    if len(settled) != 1:
        yield f"the deployment was settled {len(settled)} times"
    objects = bootstrap.open_objects(yard.settings)
    for event in events:
        for name, kind in m.OBJECTS.items():
            digest = event.payload.get(name)
            try:
                if digest is not None:
                    objects.get(kind, digest)
            except FelixError as error:
                yield f"{event.type} names an object: {error}"
    repository = AppRepository(yard.home / bootstrap.REPOSITORIES_DIR, TENANT)
    heads = {repository.head(f"refs/env/{change.app}/production"), repository.head(f"refs/heads/{change.app}")}
    repository.close()
    if state == "deployed" and heads != {change.result_commit}:
        yield f"the refs point to {heads}"
    if state != "deployed" and change.result_commit in heads:
        yield "a ref points to what is gone"


def _money(yard: Yard, change: Change) -> Iterator[str]:
    account = yard.aggregates.find(PLACE, TokenAccount, change.account_id)
    assert account is not None
    if change.holds or account.holds:
        yield f"held is {change.holds}, {account.holds}"
    if account.available_mtok + change.spent_mtok != TOKENS_MTOK:
        yield f"{account.available_mtok} are left after {change.spent_mtok} were spent"
