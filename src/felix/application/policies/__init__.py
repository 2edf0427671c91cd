"""Policies: what follows from what has happened. One present-tense sentence a file, found by its ``POLICY``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from felix.application.policies.base import Policy


def discover() -> tuple[Policy, ...]:
    """Every ``POLICY`` of this package, by name."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [module.POLICY for module in modules if isinstance(getattr(module, "POLICY", None), Policy)]
    return tuple(sorted(found, key=lambda policy: policy.name))
