"""The app of a synthetic client: crm and inventory, with what a florist would have written into them by now."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from felix.cli.options import Acting
from felix.cli.session import Session

if TYPE_CHECKING:
    from felix.eventstore.tenants import TenantPlace

APP, TITLE, MODULES = "shop", "Shop", ("crm", "inventory")
#: Name, entity, values; ``@name`` stands for the id of a record above.
RECORDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("hotel", "company", {"name": "Hotel Seeblick", "city": "Konstanz", "website": "https://seeblick.example"}),
    ("bakery", "company", {"name": "Bakery Blum", "city": "Meersburg"}),
    ("rosa", "contact", {"name": "Rosa Winter", "email": "rosa@seeblick.example", "company": "@hotel"}),
    ("wedding", "deal", {"title": "Wedding in June", "amount": 480_000, "company": "@hotel", "contact": "@rosa"}),
    ("tables", "deal", {"title": "Tables for the terrace", "amount": 96_000, "company": "@hotel"}),
    ("window", "deal", {"title": "Window in spring", "amount": 35_000, "company": "@bakery"}),
    ("cellar", "location", {"name": "Cellar", "address": "Uferweg 3"}),
    ("vase", "item", {"name": "Vase, clear", "sku": "VASE-1", "reorder_level": 20, "order_quantity": 60}),
    ("ribbon", "item", {"name": "Ribbon, white, 50 m", "sku": "RIB-50", "reorder_level": 5}),
    (
        "first-vases",
        "stock_move",
        {"kind": "in", "item": "@vase", "location": "@cellar", "quantity": 48, "unit_cost": 350, "reference": "DN-1"},
    ),
    (
        "first-ribbons",
        "stock_move",
        {"kind": "in", "item": "@ribbon", "location": "@cellar", "quantity": 4, "unit_cost": 900, "reference": "DN-1"},
    ),
)


def seed_app(session: Session, place: TenantPlace, account_id: str) -> None:
    """Begin the app and write its records, unless the client has it; one that they have changed is left as it is."""
    from felix import bootstrap
    from felix.application.changes.founding import founding
    from felix.application.records import Sealing, creating
    from felix.modules.library import library
    from felix.projections.records import pointer

    running = session.ask(place, lambda tx: pointer(tx, APP, "production"))
    releases = bootstrap.open_releases(session.settings)
    founded = founding(releases, library(), APP, TITLE, MODULES)
    if running is not None and running.stable != founded.release:
        return
    act = partial(Acting, actor="system:demo")
    if running is None:
        _ = session.send(place, founded, act(key="demo-app")).result
    sealing = Sealing(lambda: bootstrap.root_keys(session.settings), bootstrap.open_vault(session.settings))
    app, ids = releases.app(founded.release), dict[str, str]()
    for name, entity, values in RECORDS:
        given = {field: ids[value[1:]] if str(value)[:1] == "@" else value for field, value in values.items()}
        where = {"app": APP, "entity": entity, "account_id": account_id}
        command, enclosed = creating(sealing, place.tenant_id, app, where, given)
        ids[name] = session.send(place, command, act(key=f"demo-record-{name}"), enclosed).result["record_id"]
