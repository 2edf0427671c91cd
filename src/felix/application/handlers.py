"""Importing this module registers every command handler."""

from felix.application import ledger, metering, tenancy

__all__ = ["ledger", "metering", "tenancy"]
