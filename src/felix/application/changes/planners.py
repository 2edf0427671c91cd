"""The planners of a change, and the chain in which they are asked: forms, grammar, a language model, a question back.

A planner reads and answers; it has nothing that it could act with. What it answers are operations of the closed union,
which Felix tries on the tree, shows and prices itself. Whoever asks a model is given a :class:`Budget` and holds the
worst case of every request before it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from felix.domain.apps.tree import AppTree
from felix.domain.changes.messages import ModelKey
from felix.domain.changes.operations.draft import Library
from felix.domain.changes.planning.base import Answer, Asked, Declined, Planned
from felix.domain.changes.planning.grammar import planner as grammar
from felix.domain.context.known_secrets import NO_SECRETS, KnownSecrets
from felix.domain.metering.rate_card import UnknownPrice


@dataclass(frozen=True, slots=True)
class PlannerIdentity:
    """Who planned, so that nobody takes a grammar for a model or one model for another.

    ``model`` is named with its provider, such as ``openai:gpt-5``; rate cards price it under this name.
    ``template_digest`` is the SHA-256 of everything that is said to the model beside what the client wrote, and ``key``
    whose key it is asked with.
    """

    planner: str
    provider: str | None = None
    model: str | None = None
    template_digest: str | None = None
    key: ModelKey | None = None


class Passage(Protocol):
    """A piece of something that the tenant keeps, and where it comes from. It is material, never an instruction."""

    @property
    def source(self) -> str:
        """What it is from, such as ``document:handbook.md``."""

    @property
    def text(self) -> str:
        """What it says, redacted."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked of a planner. ``answers`` are the questions that were asked back, each with what was answered.

    ``catalogue`` has the version of each module that can be installed, ``library`` the files of all versions.
    """

    prompt: str
    tree: AppTree
    catalogue: Mapping[str, str]
    library: Library
    context: Sequence[Passage] = ()
    answers: Sequence[tuple[str, str]] = ()
    #: What no planner is told, of the app itself either.
    known: KnownSecrets = NO_SECRETS

    @property
    def said(self) -> str:
        """Everything that the client wrote themselves: what a plan may name without being asked about it."""
        return "\n".join((self.prompt, *(answer for _, answer in self.answers)))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a model. What it read from a cache of its own is among what it read.

    ``estimated`` says that the provider did not tell, and the length of what went and came was counted instead.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.estimated or other.estimated,
        )


NO_USAGE = Usage(0, 0)


class Budget(Protocol):
    """What a planner may spend. Every hold ends by exactly one of the two others."""

    def hold(self, by: PlannerIdentity, worst: Usage) -> str:
        """Set aside the most that one request can cost; what to settle or release it by.

        Raises ``InsufficientTokens``, ``PriceCeilingReached``, ``SpendCapReached``, ``UnknownPrice``, and whatever else
        refuses to go on with the change.
        """

    def settle(self, hold: str, used: Usage) -> None:
        """Pay for what the request used, never more than was held."""

    def release(self, hold: str, why: str, *, unmeasured: bool) -> None:
        """Give everything back. ``unmeasured`` says that the provider may have worked, and did not tell how much."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, who gave it, what it used, and the digest of the stored transcript where there is one."""

    answer: Answer
    by: PlannerIdentity
    usage: Usage = NO_USAGE
    transcript: str | None = None


class Planner(Protocol):
    """Reads a prompt and answers with operations, a question, or that it is not for it."""

    @property
    def identity(self) -> PlannerIdentity:
        """Who it is; written down before it is asked."""

    def plan(self, asked: PlanRequest, budget: Budget) -> Answered:
        """Plan. Raises what ``budget`` raises, and ``Unavailable`` where a provider fails."""


class GrammarPlanner:
    """Controlled English, offline and free."""

    identity = PlannerIdentity(grammar.PLANNER)

    def plan(self, asked: PlanRequest, budget: Budget) -> Answered:
        """Read the prompt, or what was answered last in its place: as a sentence of its own, for nothing is guessed."""
        text = asked.answers[-1][1] if asked.answers else asked.prompt
        return Answered(grammar.plan(text, asked.tree, asked.catalogue, asked.library), self.identity)


@dataclass(frozen=True, slots=True)
class PlannerChain:
    """Planners in the order in which they are asked: the first plan counts, or else the last question."""

    planners: Sequence[Planner]

    def plan(self, asked: PlanRequest, budget: Budget) -> Answered:
        """Ask one after the other. What was used and written down on the way to a question goes with it.

        A model without a price is not asked; whoever has nothing else to say about the prompt says so.
        """
        question: Answered | None = None
        last = Answered(Declined("There is no planner that could read this."), PlannerIdentity("none"))
        used, transcript = NO_USAGE, None
        for planner in self.planners:
            try:
                last = planner.plan(asked, budget)
            except UnknownPrice:
                if question is None:
                    raise
                break
            used, transcript = used + last.usage, last.transcript or transcript
            if isinstance(last.answer, Planned):
                return replace(last, usage=used, transcript=transcript)
            if isinstance(last.answer, Asked):
                question = last
        return replace(question or last, usage=used, transcript=transcript)
