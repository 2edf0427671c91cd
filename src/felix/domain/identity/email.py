"""E-mail addresses: how they are written down, so that a person is found however they write theirs."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

#: The longest that SMTP carries (RFC 5321, section 4.5.3.1.3, without the angle brackets).
MAX_EMAIL_LENGTH = 254
#: Whether it exists, only a mail can tell; this keeps out what no server would take, and what would break a header.
_ADDRESS = re.compile(r"[^\s@<>()\[\]\\,;:\"]{1,64}@[^\s@<>()\[\]\\,;:\"]+\.[^\s@<>()\[\]\\,;:\".]{2,}")


def normalised(email: str) -> str:
    """The one form in which an address is kept and looked up: without white space around it, NFKC, lower case.

    Mail servers may tell ``Ada@`` from ``ada@``, and hardly one does; two accounts that differ in it would be a trap.
    """
    return unicodedata.normalize("NFKC", email.strip()).lower()


def _checked(email: str) -> str:
    address = normalised(email)
    if not address.isprintable() or not _ADDRESS.fullmatch(address) or len(address) > MAX_EMAIL_LENGTH:
        raise ValueError("must be an e-mail address")
    return address


#: An address in the form in which it is kept.
Email = Annotated[str, StringConstraints(max_length=2 * MAX_EMAIL_LENGTH), AfterValidator(_checked)]
