"""``felix modules``: what apps can begin with or have installed."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json, print_table, tokens

app = App(name="modules", help="List the modules that apps are made of, and show what each of them brings.")


@app.command(name="list")
def list_modules(*, showing: Showing | None = None) -> None:
    """List the modules that can be installed."""
    from felix.domain.changes.modules import overview
    from felix.modules.library import library

    rows = overview(library())
    if showing is not None and showing.json:
        print_json(rows)
        return
    headings = {"id": "module", "version": "version", "title": "title", "description": "description"}
    print_table(rows, headings, empty="There is no module.")


@app.command
def show(module: str, *, version: str | None = None, showing: Showing | None = None) -> None:
    """Show what a module brings, what it may do, how it is set, and what it costs.

    Parameters
    ----------
    module
        Such as crm or inventory.
    version
        Which version. Default: the newest.
    """
    from felix.domain.changes.modules import described
    from felix.modules.library import library

    found = described(library(), module, version)
    if showing is not None and showing.json:
        print_json(found)
        return
    print(found["description"])
    print_facts(
        {name: found[name] for name in ("id", "version", "versions", "capabilities", "when_present", "digest")}
        | {"requires": [f"{name} {least}" for name, least in found["requires"].items()]}
        | {name: names for name, names in found["provides"].items() if names}
    )
    settings = [{"setting": name, **setting} for name, setting in found["config_schema"]["properties"].items()]
    print_table(settings, {"setting": "setting", "default": "default", "title": "what it says"}, empty="")
    prices = [
        {"meter": price["meter"], "model": price.get("model"), "price": _price(price)} for price in found["price_card"]
    ]
    print_table(prices, {"meter": "meter", "model": "model", "price": "tokens"}, empty="")


@app.command
def keep(module: str) -> None:
    """Keep the files of a module's newest version, before a later one is written; in a source checkout.

    Parameters
    ----------
    module
        Such as crm or inventory.
    """
    from felix.modules.library import keep as keep_version

    print(f"kept {keep_version(module)}")


def _price(price: dict[str, Any]) -> str:
    if price["kind"] == "tiered":
        return "in tiers"
    return tokens(price["price_mtok"]) + (f" per {price['per']:,}" if price.get("per", 1) > 1 else "")
