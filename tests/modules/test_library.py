"""Every module that is shipped is whole, does what its examples say, and a faulty one is refused with every fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import felix.modules
from felix.application.apps.templates import render_mail
from felix.domain.apps.examples import run_examples
from felix.domain.apps.founding import new_app
from felix.domain.apps.references import check
from felix.domain.apps.shapes import compile_app
from felix.domain.apps.tree import canonical
from felix.domain.changes.diff import diff
from felix.domain.changes.modules import NoSuchModule, described, newest, overview
from felix.domain.changes.operations.draft import OperationRefused
from felix.domain.changes.operations.modules import DisableModule, InstallModule
from felix.domain.changes.planning.base import Planned
from felix.domain.changes.planning.grammar.planner import plan
from felix.domain.changes.replay import complete, replay
from felix.domain.records.hooks import Consequence, Hook, HookOverstepped, Writing, consequences
from felix.modules.library import InvalidModule, bundle_of, check_together, hooks, library, read_package

PACKAGES = Path(felix.modules.__file__).parent
LIBRARY = library()
APPS = [
    *(((name,), {name: version}) for name, version in LIBRARY),
    (tuple(sorted(newest(LIBRARY))), {}),
    (("crm", "inventory"), {"inventory": "1.0.0"}),
]


@pytest.mark.parametrize(("modules", "versions"), APPS, ids=str)
def test_an_app_of_modules_does_what_their_examples_say(modules: tuple[str, ...], versions: Mapping[str, str]) -> None:
    app = compile_app("r", check(new_app("shop", "Shop", modules, LIBRARY, versions)), hooks())
    results = run_examples(app, render_mail)
    assert [result for result in results if not result.passed] == []
    assert len(results) >= len(modules)


@pytest.mark.parametrize("name", ["crm", "inventory"])
def test_what_comes_with_felix_has_at_least_eight_examples(name: str) -> None:
    assert len(described(LIBRARY, name)["provides"]["tests"]) >= 8


def test_examples_that_handlers_are_needed_for_fail_without_them() -> None:
    """The control: the examples really run what the modules decide."""
    app = compile_app("r", check(new_app("shop", "Shop", ["crm", "inventory"], LIBRARY)))
    assert {"goods_in", "no_more_than_there_is", "a_deal_begins_as_a_lead"} <= {
        result.name for result in run_examples(app, render_mail) if not result.passed
    }


def test_a_new_app_is_the_same_in_whatever_order_its_modules_are_named() -> None:
    one, other = (new_app("shop", "Shop", names, LIBRARY) for names in (["crm", "inventory"], ["inventory", "crm"]))
    assert one.digest == other.digest
    assert one.files["app.json"]["modules"] == newest(LIBRARY)
    locked = one.files["modules.lock.json"]["modules"]
    assert locked == {
        name: {"version": version, "digest": LIBRARY[name, version].manifest.digest}
        for name, version in newest(LIBRARY).items()
    }
    assert new_app("empty", "Empty", [], LIBRARY).files.keys() == {"app.json"}
    with pytest.raises(NoSuchModule):
        new_app("shop", "Shop", ["payroll"], LIBRARY)


def test_what_a_module_has_for_another_comes_with_whichever_is_installed_last() -> None:
    for first, second in (("crm", "inventory"), ("inventory", "crm")):
        alone = new_app("shop", "Shop", [first], LIBRARY)
        assert "entities/deal_item.json" not in alone.files
        both = InstallModule(module=second, version=newest(LIBRARY)[second]).apply(alone, LIBRARY)
        assert both.digest == new_app("shop", "Shop", ["crm", "inventory"], LIBRARY).digest


def test_what_a_module_may_do_is_an_effect_of_installing_it() -> None:
    before = new_app("shop", "Shop", ["crm"], LIBRARY)
    after = InstallModule(module="inventory", version="1.1.0").apply(before, LIBRARY)
    (said,) = (effect for effect in diff(before, after).effects if effect.kind == "module_allowed")
    assert said.risk == "high" and "write items, locations" in said.sentence and "send mail" in said.sentence


def test_a_module_that_is_taken_out_leaves_an_app_whose_examples_pass() -> None:
    before = new_app("shop", "Shop", ["crm", "inventory"], LIBRARY)
    after = DisableModule(module="inventory").apply(before, LIBRARY)
    assert "entities/item.json" in after.files and "modules/inventory.json" not in after.files
    results = run_examples(compile_app("r", check(after), hooks()), render_mail)
    assert results and all(result.passed for result in results)


def test_a_required_due_date_can_be_asked_for_in_plain_words() -> None:
    before = new_app("shop", "Shop", ["crm"], LIBRARY)
    answer = plan("Add a required due date to deals and show it in the list", before, newest(LIBRARY), LIBRARY)
    assert isinstance(answer, Planned)
    after = replay(complete(answer.operations, before, LIBRARY), before, LIBRARY).tree
    assert after.files["entities/deal.json"]["fields"]["due_date"]["required"]
    assert {"field": "due_date"} in after.files["views/deals.json"]["columns"]
    assert diff(before, after).risk == "medium"
    assert all(result.passed for result in run_examples(compile_app("r", check(after), hooks()), render_mail))


def test_personal_fields_of_customers_go_to_the_vault() -> None:
    fields = LIBRARY["crm", "1.0.0"].own.files["entities/contact.json"]["fields"]
    assert {name for name, field in fields.items() if field.get("personal")} == {"name", "email", "phone", "note"}


def test_a_manifest_is_shown_in_every_version() -> None:
    assert [module["id"] for module in overview(LIBRARY)] == sorted(newest(LIBRARY))
    assert described(LIBRARY, "inventory")["versions"] == ["1.0.0", "1.1.0"]
    assert described(LIBRARY, "inventory", "1.0.0")["migrations"] == []
    for version in ("2.0.0", None):
        with pytest.raises(NoSuchModule):
            described(LIBRARY, "inventory" if version else "payroll", version)


def test_a_module_needs_what_it_requires(tmp_path: Path) -> None:
    package = copied("inventory", tmp_path)
    edit_manifest(package, lambda said: said.update(requires={"crm": "1.1.0"}, when_present=[]))
    shutil.rmtree(package / "when_present")
    with pytest.raises(InvalidModule) as refused:
        check_together(LIBRARY | read_package(seal(package), HANDLERS))
    assert "needs the module crm 1.1.0 or a later 1.x" in str(refused.value)
    edit_manifest(package, lambda said: said.update(requires={"crm": "1.0.0"}))
    wider = LIBRARY | read_package(package, HANDLERS)
    check_together(wider)
    app = new_app("shop", "Shop", ["inventory"], wider)
    assert app.files["app.json"]["modules"] == {"crm": "1.0.0", "inventory": "1.1.0"}
    with pytest.raises(OperationRefused) as needed:
        DisableModule(module="crm").apply(app, wider)
    assert needed.value.facts["rule"] == "requires"


HANDLERS = {hook.entity: hook.decide for hook in hooks() if hook.module == "inventory"}


def copied(name: str, tmp_path: Path) -> Path:
    """A package, to break."""
    ignored = shutil.ignore_patterns("__pycache__", "*.py", "published")
    return Path(shutil.copytree(PACKAGES / name, tmp_path / name, ignore=ignored, dirs_exist_ok=True))


def edit_manifest(package: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    said = json.loads((package / "manifest.json").read_bytes())
    edit(said)
    (package / "manifest.json").write_bytes(canonical(said))


def seal(package: Path) -> Path:
    """Say the digest that the files have: what the error tells."""
    try:
        read_package(package, HANDLERS)
    except InvalidModule as error:
        told = [one["detail"] for one in error.facts["errors"] if one["rule"] == "digest"]
        edit_manifest(package, lambda said: said.update(digest=told[0].split()[5].rstrip(";")))
    return package


def put(path: str, content: Any) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_bytes(content if isinstance(content, bytes) else canonical(content))

    return change


def said(**members: Any) -> Callable[[Path], None]:
    return lambda package: edit_manifest(package, lambda manifest: manifest.update(members))


_VIEW = {"kind": "list", "entity": "item", "title": "More", "columns": [{"field": "ghost"}]}
_BAD_DEFAULT = {"properties": {"rows": {"type": "integer", "title": "Rows", "default": "many"}}}
_MAIL, _CLOCK, _SETTINGS = "mail:send", "schedules:run", "manifest.json#/config_schema/properties/rows"
_CAPABILITIES, _PATTERN, _OTHERS = "manifest.json#/capabilities", "string_pattern_mismatch", "records:write:deal"
_MIGRATION = {"from": "1.0.0", "why": "Because.", "operations": [{"op": "fly"}]}
FAULTS: list[tuple[str, Callable[[Path], None], str, str]] = [
    ("no manifest", lambda package: (package / "manifest.json").unlink(), "manifest.json#", "json"),
    ("no JSON", put("manifest.json", b"{"), "manifest.json#", "json"),
    ("no object", put("manifest.json", b"[]"), "manifest.json#", "object"),
    ("another name", said(id="stock"), "manifest.json#/id", "id"),
    ("no version", said(version="1.1"), "manifest.json#/version", _PATTERN),
    ("an unknown member", said(author="me"), "manifest.json#/author", "extra_forbidden"),
    ("a capability that is none", said(capabilities=["records:read:*"]), f"{_CAPABILITIES}/0", _PATTERN),
    ("a capability too few", said(capabilities=[_CLOCK]), _CAPABILITIES, "capability"),
    ("writes what others have", said(capabilities=[_MAIL, _CLOCK, _OTHERS]), _CAPABILITIES, "capability"),
    ("a default of another type", said(config_schema=_BAD_DEFAULT), _SETTINGS, "value_error"),
    ("provides what is not there", said(provides={"entities": ["item"]}), "manifest.json#/provides/views", "provides"),
    ("files for a module it does not name", said(when_present=[]), "manifest.json#/when_present", "when_present"),
    ("a migration from later", said(migrations=[_MIGRATION | {"from": "2.0.0"}]), "manifest.json#", "value_error"),
    ("an unknown operation", said(migrations=[_MIGRATION]), "manifest.json#/migrations/0", "invalid_operations"),
    ("a published file that changed", put("views/items.json", _VIEW), "manifest.json#/digest", "digest"),
    ("a file that is no app's", put("secrets/key.json", {}), "secrets/key.json#", "path"),
    ("a file at the top", put("policy.json", {}), "policy.json#", "path"),
    ("an integration", put("integrations/shop.json", {}), "integrations/shop.json#", "path"),
    ("not canonical", put("views/items.json", b'{"kind":"list"}'), "views/items.json#", "canonical"),
    ("a member twice", put("views/items.json", b'{"a": 1, "a": 1}'), "#views/items.json#", "json"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("break_it", "place", "rule"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_faulty_module_is_refused_with_the_place_and_the_rule(
    break_it: Callable[[Path], None], place: str, rule: str, tmp_path: Path
) -> None:
    package = copied("inventory", tmp_path)
    assert list(read_package(package, HANDLERS)) == [("inventory", "1.1.0")]
    break_it(package)
    with pytest.raises(InvalidModule) as refused:
        read_package(package, HANDLERS)
    found = {(one["pointer"], one["rule"]) for one in refused.value.facts["errors"]}
    assert (place, rule) in found, found
    assert "inventory" in str(refused.value)


def test_a_module_whose_files_make_no_app_is_refused(tmp_path: Path) -> None:
    package = copied("inventory", tmp_path)
    put("views/items.json", _VIEW)(package)
    with pytest.raises(InvalidModule) as refused:
        check_together(LIBRARY | read_package(seal(package), HANDLERS))
    assert "item has no field ghost" in str(refused.value)


def test_an_earlier_version_lies_where_it_says(tmp_path: Path) -> None:
    package = copied("inventory", tmp_path)
    kept = (PACKAGES / "inventory/published/1.0.0.json").read_bytes()
    put("published/1.0.0.json", kept)(package)
    assert sorted(read_package(package, HANDLERS)) == [("inventory", "1.0.0"), ("inventory", "1.1.0")]
    more = HANDLERS | {"supplier": HANDLERS["item"]}
    edit_manifest(package, lambda said: said["provides"]["handlers"].append("supplier"))
    assert len(read_package(package, more)) == 2, "a handler that came later is none of an earlier version"
    edit_manifest(package, lambda said: said["provides"]["handlers"].remove("supplier"))
    put("published/0.9.0.json", kept)(package)
    with pytest.raises(InvalidModule):
        read_package(package, HANDLERS)


def test_a_version_is_kept_in_one_file_and_its_files_stay_as_they_were(tmp_path: Path) -> None:
    kept = (PACKAGES / "inventory/published/1.0.0.json").read_bytes()
    assert bundle_of(LIBRARY["inventory", "1.0.0"]) == kept
    package = copied("inventory", tmp_path)
    put("published/1.1.0.json", bundle_of(LIBRARY["inventory", "1.1.0"]))(package)
    assert list(read_package(package, HANDLERS)) == [("inventory", "1.1.0")]
    edit_manifest(package, lambda said: said["provides"]["tests"].remove("count"))
    (package / "tests/count.json").unlink()
    with pytest.raises(InvalidModule) as refused:
        read_package(seal(package), HANDLERS)
    assert "1.1.0 has other files now" in str(refused.value)


def test_handlers_write_what_their_capabilities_name_and_nothing_else() -> None:
    class Nothing:
        def find(self, entity: str, record_id: str) -> None:
            return None

    def overstep(*_: Any) -> list[Consequence]:
        return [Consequence("deal", "rec_1", {})]

    writing = Writing("item", "rec_2", None, {})
    for writes, allowed in ((frozenset({"deal"}), True), (frozenset({"item"}), False)):
        hook = Hook("inventory", "item", overstep, writes)
        if allowed:
            assert consequences([hook], {}, writing, Nothing())
        else:
            with pytest.raises(HookOverstepped):
                consequences([hook], {}, writing, Nothing())
