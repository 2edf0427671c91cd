"""Limits of a change, and secrets, which no file may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grounds import GROUND, changed, op

from felix.domain.apps.tree import AppTree
from felix.domain.changes.limits import (
    MAX_CHANGED_FILES,
    MAX_OPERATIONS,
    ChangeTooLarge,
    SecretInChange,
    check_trees,
    secret_in,
)
from felix.domain.changes.operations.union import read_proposed
from felix.domain.changes.replay import replay

# Written in parts, so that no scanner takes this file for a leak.
SECRETS = [
    "whsec_" + "0123456789abcdef", "sk-ant-" + "api03-abcdefgh", "sk-proj-" + "abcdefghijklmnopqrstu",
    "github_pat_" + "11ABCDEFG0123456789_abc", "ghp_" + "0123456789abcdefghijklmnopqrstuvwxyz",
    "EAA" + "Gm0PX4ZCpsBAKZCabcdefgh", "rk_live_" + "0123456789ab", "sk_live_" + "0123456789ab",
    "AKIA" + "IOSFODNN7EXAMPLE", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "xoxb-" + "1234567890-abcdef",
    "-----BEGIN RSA " + "PRIVATE KEY-----", "eyJhbGciOiJI" + ".eyJzdWIiOiIx" + ".abc", "fx_live_" + "0123456789ab",
    "postgres://app:" + "hunter22@db/felix", "shpat_" + "0123456789abcdef0123456789abcdef",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_and_never_repeated(secret: str) -> None:
    text = f"Use {secret} for this"
    with pytest.raises(SecretInChange) as refused:
        replay([op("set_template", template="thanks", text=text)], GROUND)
    error = refused.value.facts["errors"][0]
    assert error["pointer"] == "templates/thanks.liquid#" and error["rule"] == "secret"
    assert secret not in json.dumps(refused.value.record())
    with pytest.raises(SecretInChange) as refused:
        replay([op("set_config", integration="shop", key="region", value=secret)], GROUND)
    assert refused.value.facts["errors"][0]["pointer"] == "integrations/shop.json#/config/region"


@pytest.mark.parametrize(
    "text",
    [
        "Normal text about orders, sk-1 and tasks", "https://example.com/path?x=1",
        "the desk-top publishing-house-team",
        "mailto:someone@example.com", "EAACH", "risk_live_0123456789ab", "https://example.com:8080/@user",
        "0" * 64, "AKIA", "Breakfast for 12", "-----BEGIN PUBLIC KEY-----",
    ],
)  # fmt: skip
def test_plain_text_is_no_secret(text: str) -> None:
    assert secret_in(text) is None


def test_a_secret_that_was_there_before_does_not_block_what_has_nothing_to_do_with_it() -> None:
    old = changed(GROUND, "integrations/shop.json", "config", "region", to=SECRETS[0])
    check_trees(old, changed(old, "integrations/shop.json", "title", to="Store"))
    with pytest.raises(SecretInChange) as refused:
        check_trees(GROUND, changed(GROUND, "integrations/shop.json", "config", to={SECRETS[0]: "x"}))
    assert SECRETS[0] not in json.dumps(refused.value.record())


def test_more_than_can_be_looked_at_is_refused() -> None:
    rename = {"op": "rename_view", "view": "deals", "title": "x"}
    assert len(read_proposed(json.dumps([rename] * MAX_OPERATIONS))) == MAX_OPERATIONS
    nested: Any = {"field": "stage", "is": "is_empty"}
    for _ in range(40):
        nested = {"not": nested}
    for stored in (
        json.dumps([rename] * (MAX_OPERATIONS + 1)),
        json.dumps([{"op": "set_view_filter", "view": "deals", "where": nested}]),
        " " * 3_000_000,
    ):
        with pytest.raises(ChangeTooLarge):
            read_proposed(stored)


def test_more_files_than_can_be_read_are_refused() -> None:
    def grown(files: int) -> AppTree:
        view = GROUND.files["views/won.json"]
        return AppTree({**GROUND.files, **{f"views/v{number}.json": view for number in range(files)}})

    check_trees(GROUND, grown(MAX_CHANGED_FILES))
    with pytest.raises(ChangeTooLarge) as refused:
        check_trees(GROUND, grown(MAX_CHANGED_FILES + 1))
    assert refused.value.facts == {"what": "files", "limit": MAX_CHANGED_FILES}
    with pytest.raises(ChangeTooLarge) as refused:
        check_trees(GROUND, GROUND.with_file("templates/thanks.liquid", "x " * 40_000))
    assert refused.value.facts["path"] == "templates/thanks.liquid"
