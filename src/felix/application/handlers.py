"""Importing this module registers every command handler."""

from felix.application import api_keys, erasure, identity, ledger, metering, oidc, secrets, sign_in, staff, tenancy

__all__ = ["api_keys", "erasure", "identity", "ledger", "metering", "oidc", "secrets", "sign_in", "staff", "tenancy"]
