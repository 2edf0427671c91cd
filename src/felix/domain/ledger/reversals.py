"""Undoing a debit: its recorded allocation, unwound in reverse."""

from __future__ import annotations

from uuid import UUID

from felix.domain.ledger.messages import Allocation, HoldCaptured, TokensDebited

#: What a debit's id ends with: its version in the account's stream, in ten hex digits.
VERSION_DIGITS = 10

Debit = TokensDebited | HoldCaptured


def debit_id_of(event: Debit) -> str:
    """``deb_``, the id of the event, and its version: enough to find it again without an index."""
    return f"deb_{event.event_id.hex}{event.originator_version:0{VERSION_DIGITS}x}"


def parse_debit_id(debit_id: str) -> tuple[UUID, int]:
    """The event id and the version that :func:`debit_id_of` put in."""
    digits = debit_id.removeprefix("deb_")
    return UUID(hex=digits[:-VERSION_DIGITS]), int(digits[-VERSION_DIGITS:], 16)


def charged_mtok(debit: Debit) -> int:
    """What a debit took in all: tokens and debt, without what was forgiven."""
    if isinstance(debit, HoldCaptured):
        return debit.amount_mtok - debit.forgiven_mtok
    return debit.amount_mtok


def parts_of(debit: Debit) -> Allocation:
    """What a debit took, in order: its slices, then its debt by meter as slices of no lot."""
    if isinstance(debit, HoldCaptured):
        owed = {debit.meter: debit.debt_mtok}
        allocation = [*debit.captured, *debit.extra]
    else:
        allocation = list(debit.allocation)
        owed = {}
        for meter, _, amount_mtok, _ in debit.lines:
            owed[meter] = owed.get(meter, 0) + amount_mtok
        for _, meter, amount_mtok, _ in allocation:
            owed[meter] -= amount_mtok
    return allocation + [("", meter, owed_mtok, 0) for meter, owed_mtok in owed.items() if owed_mtok]


def unwind(debit: Debit, reversed_mtok: int, amount_mtok: int) -> Allocation:
    """The last ``amount_mtok`` of a debit of which ``reversed_mtok`` have been undone before, last slice first.

    A slice that is undone bit by bit gives its share of the price back bit by bit, and never more than it took.
    """
    undone: Allocation = []
    for lot_id, meter, slice_mtok, cost_minor in reversed(parts_of(debit)):
        kept = max(0, slice_mtok - reversed_mtok)
        reversed_mtok -= slice_mtok - kept
        taken = min(kept, amount_mtok)
        if taken:
            share = cost_minor * kept // slice_mtok - cost_minor * (kept - taken) // slice_mtok
            undone.append((lot_id, meter, taken, share))
            amount_mtok -= taken
    return undone
