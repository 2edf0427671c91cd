"""Values: numbers, money, yes and no, times, roles."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from felix.domain.apps.entities import Field
from felix.domain.changes.planning.grammar.scene import Missing
from felix.domain.changes.planning.grammar.tokens import Token, quoted_text

COUNTED = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
YES = frozenset(("yes", "true", "on", "checked", "ticked"))
NO = frozenset(("no", "false", "off", "unchecked", "unticked"))
#: Currencies whose minor unit is not a hundredth (ISO 4217).
_EXPONENTS = dict.fromkeys(("JPY", "KRW", "VND", "CLP", "ISK", "UGX", "XAF", "XOF", "XPF", "PYG"), 0) | dict.fromkeys(
    ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3
)
ROLES = {
    "owner": "client_owner", "owners": "client_owner", "approver": "client_approver", "approvers": "client_approver",
    "member": "client_member", "members": "client_member",
}  # fmt: skip
DAYS = dict(zip(["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"], range(7), strict=True))


def number_of(token: Token) -> Decimal | None:
    """A number, or None where it is none or could be read in two ways."""
    if token.kind == "word" and token.word in COUNTED:
        return Decimal(COUNTED[token.word])
    if token.kind != "number":
        return None
    whole, _, places = token.word.partition(".")
    groups = whole.lstrip("-").split(",")
    if "." in places or "," in places or any(len(group) != 3 for group in groups[1:]) or len(groups[0]) > 15:
        return None
    if len(groups) > 1 and len(groups[0]) > 3:
        return None
    if len(places) == 3 and len(groups) == 1 and groups[0] != "0" and len(groups[0]) <= 3:  # 1.000 is one, or thousand.
        return None
    return Decimal(token.word.replace(",", ""))


def stored(field: Field, number: Decimal) -> int:
    """A number as a field stores it: money in its minor unit, a decimal in its last place."""
    places = {"money": _EXPONENTS.get(field.currency or "", 2), "decimal": field.places}.get(field.type, 0)
    if places is None:
        raise Missing(f"How many decimal places does {field.label} have?")
    scaled = number.scaleb(places)
    if scaled != scaled.to_integral_value() or abs(scaled) > 2**53:
        raise Missing(f"{field.label} can't be {number}. Which number is meant?")
    return int(scaled)


def value_of(field: Field, tokens: list[Token], text: str) -> Any:
    """What some words mean as a value of a field. Raises :class:`Missing` where they mean none."""
    said = " ".join(token.word for token in tokens)
    if field.type in ("integer", "decimal", "money") and len(tokens) == 1:
        number = number_of(tokens[0])
        if number is not None:
            return stored(field, number)
    if field.type == "boolean" and said in YES | NO:
        return said in YES
    if field.type in ("choice", "choices"):
        wanted = quoted_text(tokens[0]) if tokens[0].kind == "quoted" else text
        for option in field.options or ():
            if wanted.casefold() in (option.label.casefold(), option.value):
                return option.value
        raise Missing(f"Which option of {field.label}?", [option.label for option in field.options or ()])
    if field.type == "date" and len(tokens) == 1 and tokens[0].kind == "date":
        return tokens[0].word
    if field.type in ("text", "long_text", "email", "phone", "url") and tokens[0].kind == "quoted":
        return quoted_text(tokens[0])
    raise Missing(f"Which value of {field.label} is meant? Texts stand in quotes.")
