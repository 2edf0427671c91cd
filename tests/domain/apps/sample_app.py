"""A small app that has one of everything: the ground of the tests of apps and of changes to them."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.tree import AppTree


def entity(title: str, plural: str, named_by: str, /, **fields: Any) -> dict[str, Any]:
    """The file of an entity."""
    return {"title": title, "plural": plural, "named_by": named_by, "fields": fields}


def options(*values: str) -> list[dict[str, str]]:
    """Options of a choice with labels made from their values."""
    return [{"value": value, "label": value.replace("_", " ").capitalize()} for value in values]


FILES: dict[str, Any] = {
    "app.json": {"spec_version": 1, "app": "bakery", "title": "The Bakery", "modules": {"crm": "1.0.0"}},
    "modules.lock.json": {"modules": {"crm": {"version": "1.0.0", "digest": "0" * 64}}},
    "policy.json": {"approvals": {"high": 2}},
    "entities/contact.json": entity(
        "Contact", "Contacts", "name",
        name={"type": "text", "label": "Name", "required": True, "max_length": 200},
        email={"type": "email", "label": "E-mail", "personal": True},
        vip={"type": "boolean", "label": "VIP", "default": False},
    ),
    "entities/deal.json": entity(
        "Deal", "Deals", "title",
        title={"type": "text", "label": "Title", "required": True},
        contact={"type": "reference", "label": "Contact", "to": "contact"},
        value={"type": "money", "label": "Value", "currency": "EUR", "minimum": 0},
        stage={"type": "choice", "label": "Stage", "options": options("open", "won", "lost"), "default": "open"},
        closes_on={"type": "date", "label": "Closes on"},
        email={"type": "email", "label": "E-mail"},
    ),
    "views/deals.json": {
        "kind": "list", "entity": "deal", "title": "Deals",
        "columns": [{"field": "title"}, {"field": "value", "label": "Worth"}],
        "order": [{"field": "closes_on", "descending": True}],
        "where": {"not": {"field": "stage", "is": "equal", "value": "lost"}},
    },
    "views/pipeline.json": {
        "kind": "board", "entity": "deal", "title": "Pipeline", "group_by": "stage", "card": ["title"],
    },
    "views/deal_form.json": {
        "kind": "form", "entity": "deal", "title": "Deal",
        "sections": [{"title": "Deal", "fields": ["title", "contact", "value", "stage", "closes_on"]}],
    },
    "views/won.json": {
        "kind": "chart", "entity": "deal", "title": "Won by month", "chart": "bar",
        "group_by": {"field": "closes_on", "by": "month"}, "measure": {"function": "sum", "field": "value"},
    },
    "workflows/deal_stage.json": {
        "title": "Stages of a deal", "entity": "deal", "field": "stage", "initial": "open",
        "transitions": [
            {"action": "win", "label": "Won", "from": ["open"], "to": "won", "roles": ["client_owner"]},
            {"action": "lose", "label": "Lost", "from": ["open"], "to": "lost"},
        ],
    },
    "automations/thank.json": {
        "title": "Say thank you", "on": {"event": "changed", "entity": "deal", "field": "stage"},
        "when": {"field": "stage", "is": "equal", "value": "won"},
        "actions": [{"do": "send_email", "template": "thanks", "to_field": "email"}],
    },
    "templates/thanks.json": {"title": "Thank you", "subject": "Thank you", "entity": "deal"},
    "templates/thanks.liquid": "Dear customer, thank you for {{ deal.title }}.\n",
    "reports/won_deals.json": {
        "title": "Won deals", "entity": "deal", "group_by": [{"field": "closes_on", "by": "month"}],
        "measures": [{"function": "count"}, {"function": "sum", "field": "value"}],
        "where": {"field": "stage", "is": "equal", "value": "won"},
    },
    "schedules/monthly.json": {
        "title": "Every month", "cron": "0 8 1 * *", "zone": "Europe/Berlin",
        "job": {"run": "report", "report": "won_deals", "to_role": "client_owner"},
    },
    "integrations/shop.json": {
        "title": "Shop", "connector": "shopify", "secret_ref": "shopify", "mapping": {"name": "name"},
    },
    "tests/winning.json": {
        "title": "A deal that is won thanks the customer",
        "given": [{"record": "ours", "entity": "deal", "values": {"title": "Bread", "email": "a@example.com"}}],
        "when": [{"take": "win", "record": "ours"}],
        "then": [{"record": "ours", "has": {"stage": "won"}}, {"sent": "thanks"}],
    },
}  # fmt: skip

TREE = AppTree(FILES)
