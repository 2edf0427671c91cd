"""Modules over HTTP: what there is to have, and apps that begin with what a client came on board with."""

from __future__ import annotations

from dataclasses import replace

from felix_world import World


def test_everybody_sees_what_modules_there_are(world: World) -> None:
    member = world.person("client_member", world.bakery)
    listed = member.seen("/v1/modules")["data"]
    assert [module["id"] for module in listed] == ["crm", "inventory"]
    shown = member.seen("/v1/modules/inventory?version=1.0.0")
    assert shown["version"] == "1.0.0" and shown["versions"] == ["1.0.0", "1.1.0"]
    assert shown["config_schema"]["properties"]["valuation"]["default"] == "average"
    for path in ("/v1/modules/payroll", "/v1/modules/inventory?version=9.9.9", "/v1/modules/inventory?version=x"):
        assert member.get(path).json()["code"] == "no_such_module"


def test_an_app_begins_with_the_modules_that_the_client_came_on_board_with(world: World) -> None:
    asked = {"slug": "with-modules", "name": "A client", "modules": ["inventory"]}
    made = world.founder.done("/v1/tenants", asked, key="with-modules")
    founder = world.founder.about(replace(world.bakery, tenant_id=made["tenant_id"]))
    begun = founder.done("/v1/apps", {"app": "stock", "title": "Stock"})
    tree = world.app.state.services.releases.tree(begun["release"])
    assert tree.files["app.json"]["modules"] == {"inventory": "1.1.0"}
    empty = founder.done("/v1/apps", {"app": "bare", "title": "Bare", "modules": []})
    assert "modules" not in world.app.state.services.releases.tree(empty["release"]).files["app.json"]
