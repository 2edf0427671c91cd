"""Who may do what: one table of actions, roles and conditions. What is not in it nobody may do.

A command's action is its name; a read's is the noun that is read. :func:`grant_of` is asked at every door, the page
``docs/access.md`` is made from the table, and the tests send every request as every role.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from felix.domain.identity.roles import ROLES, Role

#: ``stepped_up``: a person has proved again, within the last minutes, who they are; machines' keys need not.
Condition = Literal["stepped_up"]
#: Where an action takes place: in the tenant that the caller is in or names, or on the platform itself.
Place = Literal["tenant", "platform"]


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done, and what each role needs for it; a role that is missing may not do it."""

    name: str
    place: Place
    writes: bool
    grants: Mapping[Role, frozenset[Condition]]


FREELY: frozenset[Condition] = frozenset()
STEPPED_UP: frozenset[Condition] = frozenset({"stepped_up"})

_READERS = frozenset(ROLES)
_OWNERS: frozenset[Role] = frozenset({"founder", "client_owner", "service"})
_FOUNDERS: frozenset[Role] = frozenset({"founder", "founder_readonly"})
_FOUNDER: frozenset[Role] = frozenset({"founder"})


def _rows() -> Iterator[Action]:
    """The table. Each line: who, what, and on which condition."""

    def reads(place: Place, roles: frozenset[Role], *names: str) -> Iterator[Action]:
        for name in names:
            yield Action(name, place, False, {role: FREELY for role in ROLES if role in roles})

    def writes(
        place: Place, roles: frozenset[Role], *names: str, condition: frozenset[Condition] = FREELY
    ) -> Iterator[Action]:
        for name in names:
            yield Action(name, place, True, {role: condition for role in ROLES if role in roles})

    # What everybody in a tenant sees.
    yield from reads("tenant", _READERS, "ledger.read", "metering.read", "log.read", "audit.read", "jobs.read")
    yield from reads("tenant", _READERS, "live.follow")
    yield from reads("tenant", _OWNERS | {"client_member", "client_approver"}, "metering.quote_usage")
    # What spends a client's tokens, and what limits that.
    yield from writes("tenant", _OWNERS, "ledger.open_token_account", "ledger.close_token_account")
    yield from writes("tenant", _OWNERS, "ledger.hold_tokens", "ledger.capture_hold", "ledger.release_hold")
    yield from writes("tenant", _OWNERS, "ledger.extend_hold", "ledger.debit_tokens", "ledger.transfer_tokens")
    yield from writes("tenant", _OWNERS, "ledger.book_expiries", "metering.debit_usage_batch")
    yield from writes("tenant", _OWNERS, "ledger.set_spend_cap", "ledger.remove_spend_cap")
    # What makes, moves or takes tokens by hand: overrides.
    yield from writes("tenant", _FOUNDER, "ledger.grant_tokens", "ledger.void_lot", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.expire_lot", "ledger.extend_lot", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.claw_back_tokens", "ledger.reverse_debit", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.freeze_lot", "ledger.unfreeze_lot", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.freeze_token_account", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.unfreeze_token_account", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.set_credit_limit", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.propose_adjustment", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.approve_adjustment", condition=STEPPED_UP)
    yield from writes("tenant", _FOUNDER, "ledger.reject_adjustment", condition=STEPPED_UP)
    # What a client pays for, and how much.
    yield from writes("tenant", _FOUNDER, "metering.define_meter", "metering.publish_rate_card")
    # The platform.
    yield from writes("platform", _FOUNDER, "tenancy.onboard_tenant")
    yield from reads("platform", _FOUNDERS, "tenancy.read", "projections.read", "operations.read")
    yield from writes("platform", _FOUNDER, "projections.rebuild", "projections.retry")
    yield from writes("platform", _FOUNDER, "jobs.retry", "jobs.cancel")


ACTIONS: dict[str, Action] = {}
for _row in _rows():
    if _row.name in ACTIONS:
        raise TypeError(f"{_row.name} is in the table twice")
    ACTIONS[_row.name] = _row


def grant_of(action: str, role: Role) -> frozenset[Condition] | None:
    """What a role needs for an action; None where it may not do it at all."""
    return ACTIONS[action].grants.get(role)
