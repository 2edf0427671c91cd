"""Adapters reach out: one outside system a file."""
