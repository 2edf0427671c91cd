"""Secrets that tenants entrust to Felix: tokens, passwords and keys of the systems that it works with for them."""
