"""Beginning apps: the first release is made of modules, kept, and named in the command that lets it run."""

from __future__ import annotations

from collections.abc import Sequence

from felix.application.apps.releases import Releases
from felix.domain.apps.founding import new_app
from felix.domain.changes.messages import ENVIRONMENTS, CreateApp, Environment
from felix.domain.changes.modules import Library


def founding(
    releases: Releases,
    library: Library,
    app: str,
    title: str,
    modules: Sequence[str],
    environments: Sequence[Environment] = ENVIRONMENTS,
) -> CreateApp:
    """The command that begins an app with the newest version of some modules.

    Raises ``NoSuchModule``, ``ModuleConflict``, ``InvalidApp``, ``Unavailable``, and pydantic's ``ValidationError``.
    """
    # Inside an app names are words, as in everything that refers to them; a short name may have hyphens.
    tree = new_app(app.replace("-", "_"), title, modules, library)
    return CreateApp(
        app=app, title=title, release=releases.put(tree), tree=tree.digest, environments=list(environments)
    )
