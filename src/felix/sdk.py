"""What a module may use of Felix: how it decides about records, and how it refuses."""

from __future__ import annotations

from felix.domain.errors import NotFound, Refused
from felix.domain.records.hooks import Consequence, Decide, Records, Values, Writing, derived_id

__all__ = ["Consequence", "Decide", "NotFound", "Records", "Refused", "Values", "Writing", "derived_id"]
