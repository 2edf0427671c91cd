"""``felix docs``: the pages that are generated from the code, and whether the written ones still say the same.

One generator a file. Most pages are a pure function of the code of ``felix``: nothing that a test or another module
defines gets in. The diagram and the grants say what is in a migrated database, for which a throwaway one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cyclopts import App

from felix.cli.docs import access, api, app_schemas, diagram, errors, events, grants, metrics, modules, planner, schemas
from felix.cli.errors import NoSourceCheckout, with_hint
from felix.settings import env_example

app = App(name="docs", help="Write the pages that are generated from the code, or check them.")

#: By path in the checkout.
PAGES: dict[str, Callable[[], str]] = {
    "docs/events.md": events.page,
    "docs/errors.md": errors.page,
    "docs/access.md": access.page,
    "docs/api.md": api.page,
    "docs/metrics.md": metrics.page,
    "docs/planner.md": planner.page,
    "docs/modules.md": modules.page,
    ".env.example": env_example,
}


@app.command
def write() -> None:
    """Write every generated page into this source checkout."""
    root = _checkout()
    for name, text in everything().items():
        path = root / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {name}")


@app.command
def check() -> int:
    """Say which generated pages are not what the code says; exit code 1 if there are any."""
    stale = outdated(_checkout(), everything())
    for name in stale:
        print(f"{name} is out of date: run `felix docs write`")
    return 1 if stale else 0


def generate() -> dict[str, str]:
    """Every page that the code alone gives, by its path in the checkout."""
    return {name: page() for name, page in PAGES.items()} | schemas.documents() | app_schemas.documents()


def everything() -> dict[str, str]:
    """Every generated page; takes seconds, because some of them need a database."""
    from felix import bootstrap
    from felix.embedded import throwaway_postgres

    with throwaway_postgres() as address:
        endpoints = bootstrap.Endpoints(address.url("postgres"), None, None)
        bootstrap.bring_up_to_date(endpoints, partitions=1)
        return generate() | of_a_database(endpoints.database_url)


def of_a_database(url: str) -> dict[str, str]:
    """The pages that a migrated database gives, by their path in the checkout."""
    return {diagram.PATH: diagram.page(url), grants.PATH: grants.page(url)}


def outdated(root: Path, pages: dict[str, str]) -> list[str]:
    """The paths of pages that are missing or differ."""
    return [name for name, text in pages.items() if not (root / name).exists() or (root / name).read_text() != text]


def _checkout() -> Path:
    root = Path(__file__).resolve().parents[4]
    if not (root / "pyproject.toml").exists():
        raise with_hint(
            NoSourceCheckout("There are no pages to generate in an installed Felix."),
            "Run `felix docs` in a source checkout.",
        )
    return root
