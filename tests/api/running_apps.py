"""Apps that run: the sample app of the domain's tests, or what is made of it, live for a client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from felix_world import Caller, World, new_key

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import TREE

from felix.application.performer import new_context
from felix.domain.apps.tree import AppTree
from felix.domain.changes.messages import CreateApp

__all__ = ["TREE", "begin_app"]


def begin_app(world: World, tenant: Caller, tree: AppTree = TREE, name: str = "bakery") -> str:
    """Let an app run in both environments; its release."""
    release: str = world.app.state.services.releases.put(tree)
    command = CreateApp(app=name, title="The Bakery", release=release, tree=tree.digest)
    context = new_context(UUID(tenant.tenant_id), new_key(), "founder:test")
    result: dict[str, Any] = world.performer.perform_blocking(command, context).result
    return str(result["release"])
