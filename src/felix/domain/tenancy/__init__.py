"""Tenants: the clients whose apps Felix runs."""
