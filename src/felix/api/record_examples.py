"""Examples of the endpoints of records, as the OpenAPI document shows them and the tests send them."""

from __future__ import annotations

from typing import Any

APP_NAME = "bakery"
RECORD_ID = "rec_019a8f4e5c7b7000800000000000d001"
DEBIT_ID = "deb_019a8f4e5c7b7000800000000000d0020000000003"
_RELEASE = "5d41402abc4b2a76b9719d911017c592ae2f6b0a1c3d4e5f60718293a4b5c6d7"

_ROW: dict[str, Any] = {
    "record_id": RECORD_ID,
    "version": 1,
    "release": _RELEASE,
    "maker": "usr_019a8f4e5c7b7000800000000000d003",
    "created_at": "2026-01-31T12:00:00Z",
    "changed_at": "2026-01-31T12:00:00Z",
    "values": {"title": "Bread for the fair", "value": 12_500, "stage": "open"},
    "erased": [],
    "names": {},
}
RECORD: dict[str, Any] = _ROW | {"steps": [{"action": "win", "label": "Won", "field": "stage", "to": "won"}]}
RECORDS: dict[str, Any] = {"data": [_ROW], "next": None}

APP: dict[str, Any] = {
    "app": APP_NAME,
    "title": "The Bakery",
    "environment": "production",
    "release": _RELEASE,
    "entities": [
        {
            "name": "deal",
            "title": "Deal",
            "plural": "Deals",
            "named_by": "title",
            "fields": [{"name": "title", "type": "text", "label": "Title"}],
        }
    ],
    "views": [{"name": "deals", "kind": "list", "title": "Deals", "entity": "deal"}],
    "workflows": [
        {
            "name": "deal_stage",
            "title": "Stages of a deal",
            "entity": "deal",
            "field": "stage",
            "initial": "open",
            "transitions": [{"action": "win", "label": "Won", "from": ["open"], "to": "won"}],
        }
    ],
}
VIEW: dict[str, Any] = {
    "view": "deals",
    "kind": "list",
    "title": "Deals",
    "entity": "deal",
    "columns": [{"name": "title", "type": "text", "label": "Title"}],
    "data": [_ROW | {"values": {"title": "Bread for the fair"}}],
    "next": None,
}

_DONE: dict[str, Any] = {
    "record_id": RECORD_ID,
    "version": 2,
    "release": _RELEASE,
    "charged_mtok": 10,
    "debit_id": DEBIT_ID,
}
WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CreateRecord": ({"values": {"title": "Bread for the fair", "value": 12_500}}, _DONE | {"version": 1}),
    "ChangeRecord": ({"values": {"value": 13_000}, "expected_version": 1}, _DONE),
    "TakeStep": ({"action": "win"}, _DONE),
    "RemoveRecord": ({}, _DONE),
    "RestoreRecord": ({}, _DONE | {"version": 3}),
}
