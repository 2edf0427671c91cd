"""What a deal is expected to bring: its amount times how likely it is, which its stage says until somebody does."""

from __future__ import annotations

from collections.abc import Iterable

from felix.sdk import Consequence, Decide, Records, Values, Writing

_CERTAIN = {"won": 100, "lost": 0}


def _expect(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    deal = writing.after
    if deal is None:
        return
    values = dict(deal)
    if writing.changes("stage"):
        stage = deal.get("stage")
        percent = _CERTAIN.get(str(stage), config.get(f"percent_{stage}"))
        # A stage that the client has added says nothing, and what somebody says along with the step counts.
        if percent is not None and (writing.before is None or not writing.changes("probability")):
            values["probability"] = percent
    amount_minor, percent = values.get("amount") or 0, values.get("probability") or 0
    if isinstance(amount_minor, int) and isinstance(percent, int):
        values["expected_amount"] = (amount_minor * percent + 50) // 100
    found = {
        name: values.get(name) for name in ("probability", "expected_amount") if values.get(name) != deal.get(name)
    }
    if found:
        yield Consequence("deal", writing.record_id, found)


HOOKS: dict[str, Decide] = {"deal": _expect}
