"""Felix runs prompt-driven business apps, paid in prepaid tokens, on an event-sourced ledger."""

__version__ = "0.1.0"
