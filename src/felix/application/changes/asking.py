"""Asking for a change, answering its questions, editing its plan, and letting it be.

What people write is personal: it is enclosed at the door, put into the vault under the change's id beside the event
that commits to it, and can be erased like anything that is known of a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from felix.application.changes.places import account_of, environment_at, leave_queue, repository_at
from felix.application.changes.pricing import quotes
from felix.application.erasure import keep
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.changes import errors
from felix.domain.changes.change import Change
from felix.domain.changes.limits import secret_in
from felix.domain.changes.messages import (
    AnswerClarification,
    CancelChange,
    RaiseCeiling,
    RequestChange,
    RevisePlan,
)
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.sealing import RootKeys
from felix.eventstore.vault import Vault

#: About five pages. What is longer is a document, and the prompt says what to do with it.
MAX_PROMPT_CHARS = 12_000
_WORDS = "change.words"
_WHITE = frozenset("\t\n\r")


def check_words(words: object, *, field: str = "prompt") -> str:
    """What somebody wrote, if it can be read.

    :raises PromptEmpty, PromptTooLong, PromptNotText, SecretInPrompt: none of which repeats it.
    """
    if not isinstance(words, str):
        raise errors.PromptNotText(errors=[_wrong(field, "string", "not text")])
    if not words.strip():
        raise errors.PromptEmpty(errors=[_wrong(field, "too_short", "is empty")])
    if len(words) > MAX_PROMPT_CHARS:
        raise errors.PromptTooLong(errors=[_wrong(field, "too_long", f"at most {MAX_PROMPT_CHARS} characters")])
    if any(ord(character) < 32 and character not in _WHITE for character in words) or "\x7f" in words:
        raise errors.PromptNotText(errors=[_wrong(field, "text", "holds control characters")])
    try:
        words.encode()
    except UnicodeEncodeError:
        raise errors.PromptNotText(errors=[_wrong(field, "text", "holds lone surrogates")]) from None
    if (kind := secret_in(words)) is not None:
        raise errors.SecretInPrompt(errors=[_wrong(field, "secret", f"looks as if it held {kind}")])
    return words


def _wrong(field: str, rule: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{field}", "rule": rule, "detail": detail}


def asking(
    root_keys: RootKeys, vault: Vault, tenant_id: UUID, fields: Mapping[str, Any], prompt: object
) -> tuple[RequestChange, dict[str, Any]]:
    """The command that asks for a change, and what travels with it enclosed.

    Raises what :func:`check_words` does, and pydantic's ``ValidationError`` about ``fields``.
    """
    words = check_words(prompt)
    enclosed = vault.enclose(prompt=words)
    command = RequestChange.model_validate(
        {
            **fields,
            "prompt_index": _index(root_keys, tenant_id, words),
            "prompt_commitment": enclosed.commitments["prompt"],
            "prompt_chars": len(words),
        }
    )
    return command, {_WORDS: enclosed}


def answering(
    root_keys: RootKeys, vault: Vault, tenant_id: UUID, fields: Mapping[str, Any], answer: object, number: int
) -> tuple[AnswerClarification, dict[str, Any]]:
    """The command that answers a change's questions for the ``number``-th time, with what travels enclosed.

    Raises what :func:`check_words` does, and pydantic's ``ValidationError`` about ``fields``.
    """
    words = check_words(answer, field="answer")
    name = f"answer_{number}"
    enclosed = vault.enclose(**{name: words})
    command = AnswerClarification.model_validate(
        {
            **fields,
            "answer_index": _index(root_keys, tenant_id, words),
            "answer_commitment": enclosed.commitments[name],
        }
    )
    return command, {_WORDS: enclosed}


def _index(root_keys: RootKeys, tenant_id: UUID, words: str) -> str:
    return root_keys.index("change-words", f"{tenant_id}/{words}").hex()


@handles(RequestChange)
def request_change(command: RequestChange, unit: UnitOfWork) -> dict[str, Any]:
    """Begin a change with what it may cost; nothing is held before its first step."""
    if command.source is None:
        environment = environment_at(command.app, command.environment, unit)
    else:
        environment = repository_at(command.source, command.app, unit)
    unit.get(TokenAccount, command.account_id)
    if command.retry_of is not None:
        unit.get(Change, command.retry_of)
    low, high = quotes(unit, command)
    change = Change.request(unit.context, command, environment)
    unit.add(change)
    change.quote(low, high, command.ceiling_mtok)
    if (enclosed := unit.context.enclosed.get(_WORDS)) is not None:
        keep(unit, change.local_id, enclosed)
    return change.told(quote={"low_mtok": low.amount_mtok, "high_mtok": high.amount_mtok, "card": high.price_card})


@handles(AnswerClarification)
def answer_clarification(command: AnswerClarification, unit: UnitOfWork) -> dict[str, Any]:
    """Keep the answer, and let the change be planned with it."""
    change = unit.get(Change, command.change_id)
    answered = change.answer(command)
    if (enclosed := unit.context.enclosed.get(_WORDS)) is not None:
        if answered["field"] not in enclosed.commitments:
            raise errors.ChangeMovedOn(change_id=change.local_id, state=change.state, version=change.version)
        keep(unit, change.local_id, enclosed)
    return answered


@handles(RevisePlan)
def revise_plan(command: RevisePlan, unit: UnitOfWork) -> dict[str, Any]:
    """Put other operations in the place of those that were planned."""
    return unit.get(Change, command.change_id).revise(command)


@handles(RaiseCeiling)
def raise_ceiling(command: RaiseCeiling, unit: UnitOfWork) -> dict[str, Any]:
    """Let a change cost more."""
    return unit.get(Change, command.change_id).raise_ceiling(command)


@handles(CancelChange)
def cancel_change(command: CancelChange, unit: UnitOfWork) -> dict[str, Any]:
    """Let a change be, and give back what it holds."""
    change = unit.get(Change, command.change_id)
    cancelled = change.cancel(command, account_of(change, unit))
    leave_queue(change, unit)
    return cancelled
