"""Importing this module registers every command handler."""

from felix.application import (
    api_keys,
    documents,
    erasure,
    identity,
    ledger,
    metering,
    oidc,
    records,
    secrets,
    sign_in,
    staff,
    tenancy,
)
from felix.application.apps import automations
from felix.application.changes import handlers as changes

__all__ = [
    "api_keys",
    "automations",
    "changes",
    "documents",
    "erasure",
    "identity",
    "ledger",
    "metering",
    "oidc",
    "records",
    "secrets",
    "sign_in",
    "staff",
    "tenancy",
]
