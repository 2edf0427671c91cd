"""Who decides about a change, and how many of them have to agree.

Risk sets the number, the app's policy can only raise it. People decide, never machines, and nobody about what they
asked for or wrote themselves: except, alone in front of a sandbox, what only changes how things look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from felix.domain.changes.messages import Environment
from felix.domain.changes.risk import Risk

#: The roles that decide about changes.
DECIDERS = ("client_approver", "client_owner", "founder")
#: Who may take somebody else's change back, or edit it.
HEADS = ("client_owner", "founder")
_PEOPLE: dict[Risk, int] = {"low": 1, "medium": 1, "high": 2, "destructive": 2}
_ROLES: dict[Risk, int] = {"low": 1, "medium": 1, "high": 1, "destructive": 2}


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many different people have to agree, in how many different roles, and whether an author may be one."""

    people: int
    roles: int
    self_allowed: bool

    def is_met_by(self, actors: Iterable[str]) -> bool:
        """Whether these are enough. Each person counts once, whatever roles they have."""
        roles = {person_of(actor): role_of(actor) for actor in actors}
        return len(roles) >= self.people and len(set(roles.values())) >= self.roles


def quorum_of(risk: Risk, environment: Environment, asked_for: Mapping[Risk, int]) -> Quorum:
    """The quorum of a risk. ``asked_for`` is what the app's policy says; it only ever raises the number."""
    people = max(_PEOPLE[risk], asked_for.get(risk, 0))
    return Quorum(people, _ROLES[risk], self_allowed=risk == "low" and environment == "sandbox" and people == 1)


def role_of(actor: str) -> str:
    """The role that the log names an actor with."""
    return actor.partition(":")[0]


def person_of(actor: str) -> str:
    """Who it is, whatever their role."""
    return actor.partition(":")[2]


def is_person(actor: str) -> bool:
    """Whether somebody is there: behind a key or a service there may be anybody, or nobody."""
    return role_of(actor) not in ("service", "system") and not person_of(actor).startswith("key_")
