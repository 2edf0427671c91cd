"""A ground to change, operations that fit it and operations that do not, and generators of more."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

from hypothesis import strategies as st
from sample_app import FILES, TREE, entity, options

from felix.domain.apps.modules import Manifest
from felix.domain.apps.tree import AppTree
from felix.domain.changes.modules import Module
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.union import read_recorded
from felix.domain.errors import FelixError


def op(name: str, /, **members: Any) -> Operation:
    """An operation as a planner would give it: as JSON."""
    (made,) = read_recorded(json.dumps([{"op": name, **members}]))
    return made


def changed(tree: AppTree, path: str, *parts: str | int, to: Any) -> AppTree:
    """The same tree with one value changed."""
    content = copy.deepcopy(tree.files[path])
    place = content
    for part in parts[:-1]:
        place = place[part]
    place[parts[-1]] = to
    return tree.with_file(path, content)


CRM_1 = AppTree({"entities/contact.json": FILES["entities/contact.json"]})
CRM_2 = changed(CRM_1, "entities/contact.json", "fields", "phone", to={"type": "phone", "label": "Phone"})
STOCK = AppTree(
    {
        "entities/item.json": entity(
            "Item", "Items", "sku",
            sku={"type": "text", "label": "SKU", "required": True}, amount={"type": "integer", "label": "Amount"},
        ),
        "views/items.json": {"kind": "list", "entity": "item", "title": "Items", "columns": [{"field": "sku"}]},
        "schedules/reorder.json": {
            "title": "Reorder", "cron": "0 6 * * *", "job": {"run": "module", "module": "stock", "handler": "reorder"},
        },
    }
)  # fmt: skip


def module(name: str, version: str, own: AppTree, /, **more: Any) -> dict[tuple[str, str], Module]:
    """A module of a library, with a manifest that says no more than it must."""
    said = {"id": name, "version": version, "title": name.capitalize(), "description": "For tests.", "provides": {}}
    return {(name, version): Module(Manifest.model_validate(said | {"digest": own.digest} | more), own)}


LIBRARY = module("crm", "1.0.0", CRM_1) | module("crm", "1.1.0", CRM_2) | module("stock", "1.0.0", STOCK)

#: The sample, made from the known files of its module, with a text, a field that is hidden, a choice that nothing
#: governs, a number, an integration with a property, mail that is switched off, and a module with a setting.
GROUND = changed(TREE, "modules.lock.json", "modules", "crm", "digest", to=CRM_1.digest)
for _name, _field in {
    "code": {"type": "text", "label": "Code", "max_length": 20},
    "old": {"type": "text", "label": "Old", "hidden": True},
    "size": {"type": "choice", "label": "Size", "options": options("small", "large")},
    "rank": {"type": "integer", "label": "Rank", "indexed": True, "maximum": 9},
}.items():
    GROUND = changed(GROUND, "entities/deal.json", "fields", _name, to=_field)
GROUND = changed(GROUND, "integrations/shop.json", "config", to={"region": "eu"})
GROUND = changed(GROUND, "automations/thank.json", "enabled", to=False)
_SETTING = {"type": "integer", "title": "Rows", "default": 10, "maximum": 50}
GROUND = GROUND.with_file("modules/crm.json", {"title": "Crm", "config_schema": {"properties": {"rows": _SETTING}}})

_LIST = {"kind": "list", "entity": "deal", "title": "Big deals", "columns": [{"field": "title"}]}
_BOARD = {"kind": "board", "entity": "deal", "title": "By size", "group_by": "size", "card": ["title"]}
_FORM = {"kind": "form", "entity": "contact", "title": "Contact", "sections": [{"title": "Who", "fields": ["name"]}]}
_CHART = {
    "kind": "chart", "entity": "deal", "title": "By size", "group_by": {"field": "size"},
    "measure": {"function": "count"},
}  # fmt: skip
_STEP = {"action": "reopen", "label": "Open again", "from": ["lost"], "to": "open"}
_SIZING = {
    "title": "Sizes", "entity": "deal", "field": "size", "initial": "small",
    "transitions": [{"action": "grow", "label": "Grow", "from": ["small"], "to": "large"}],
}  # fmt: skip
_MAILING = {
    "title": "Welcome", "on": {"event": "created", "entity": "deal"},
    "actions": [{"do": "send_email", "template": "thanks", "to_field": "email"}],
}  # fmt: skip
_RANKING = {
    "title": "Rank", "on": {"event": "created", "entity": "deal"},
    "actions": [{"do": "set_field", "field": "rank", "value": 1}],
}  # fmt: skip
_REPORT = {"title": "Sizes", "entity": "deal", "group_by": [{"field": "size"}], "measures": [{"function": "count"}]}
_WEEKLY = {"title": "Weekly", "cron": "0 8 * * MON", "job": {"run": "report", "report": "won_deals"}}
_EXAMPLE = {
    "title": "A deal begins open", "when": [{"create": "one", "entity": "deal", "values": {"title": "Bread"}}],
    "then": [{"record": "one", "has": {"stage": "open"}}],
}  # fmt: skip
_DATE = {"type": "date", "label": "Due date", "required": True}
_NOTE = {"type": "long_text", "label": "Note"}
_DEAL = {"entity": "deal"}


def _of(field: str, /, **members: Any) -> dict[str, Any]:
    return {"entity": "deal", "field": field, **members}


#: Each with what it says to who approves it, and its risk.
FITS: list[tuple[Operation, str, str]] = [
    (op("add_entity", entity="cake", title="Cake", plural="Cakes", named_by="name",
        fields={"name": {"type": "text", "label": "Name"}}), "Begins to keep 'Cakes', with 1 field", "medium"),
    (op("hide_entity", entity="deal"), "Hides deals and every view of them; the records are kept", "medium"),
    (op("rename_entity", entity="deal", title="Chance", plural="Chances"),
     "Calls deals 'Chances' from now on, and one of them 'Chance'", "low"),
    (op("add_field", **_of("due_on", definition=_DATE)), "Adds the required date field 'Due date' to deals", "medium"),
    (op("add_field", **_of("note", definition=_NOTE)), "Adds the long text field 'Note' to deals", "medium"),
    (op("rename_field", **_of("value", label="Worth")),
     "Calls the field 'Value' of deals 'Worth' from now on", "low"),
    (op("hide_field", **_of("contact")),
     "Hides the field 'Contact' of deals wherever it is shown; its values are kept", "medium"),
    (op("show_field", **_of("old")), "Lets views show the field 'Old' of deals again", "medium"),
    (op("purge_field", **_of("old")), "Removes the field 'Old' of deals for good, with all its values", "destructive"),
    (op("require_field", **_of("value")), "Makes the field 'Value' of deals required", "medium"),
    (op("relax_field", **_of("title")), "Makes the field 'Title' of deals optional", "medium"),
    (op("set_field_default", **_of("stage", default="won")),
     "Lets the field 'Stage' of deals begin with 'Won'", "medium"),
    (op("set_field_help", **_of("value", help="Without tax")),
     "Says beside the field 'Value' of deals: 'Without tax'", "low"),
    (op("add_option", **_of("stage", value="paused", label="Paused")),
     "Adds the option 'Paused' to the field 'Stage' of deals", "medium"),
    (op("rename_option", **_of("stage", value="won", label="Ours")),
     "Calls the option 'Won' of the field 'Stage' of deals 'Ours' from now on", "low"),
    (op("remove_option", **_of("size", value="large")),
     "Removes the option 'Large' of the field 'Size' of deals", "destructive"),
    (op("set_field_limits", **_of("title", max_length=900)),
     "Gives the field 'Title' of deals maximum length 900", "medium"),
    (op("set_field_limits", **_of("rank", maximum=5)), "Gives the field 'Rank' of deals maximum 5", "high"),
    (op("set_field_limits", **_of("rank", without=["maximum"])),
     "Gives the field 'Rank' of deals no maximum", "medium"),
    (op("mark_personal", **_of("email")),
     "Keeps what is in the field 'E-mail' of deals as personal data from now on", "medium"),
    (op("set_field_type", **_of("code", type="long_text")),
     "Lets the field 'Code' of deals hold any long text", "medium"),
    (op("set_field_type", **_of("rank", type="decimal")), "Lets the field 'Rank' of deals hold any decimal", "medium"),
    (op("set_field_type", **_of("size", type="text")), "Lets the field 'Size' of deals hold any text", "medium"),
    (op("add_list_view", view="big", definition=_LIST), "Adds the list 'Big deals' of deals", "medium"),
    (op("add_list_view", view="big", definition={**_LIST, "roles": ["client_owner"]}),
     "Adds the list 'Big deals' of deals, seen by owners", "medium"),
    (op("add_board_view", view="sizes", definition=_BOARD), "Adds the board 'By size' of deals", "medium"),
    (op("add_form_view", view="contact_form", definition=_FORM), "Adds the form 'Contact' of contacts", "medium"),
    (op("add_chart_view", view="sizes", definition=_CHART), "Adds the chart 'By size' of deals", "medium"),
    (op("remove_view", view="won"), "Removes the view 'Won by month'", "medium"),
    (op("rename_view", view="deals", title="Chances"), "Calls the view 'Deals' 'Chances' from now on", "low"),
    (op("add_view_column", view="deals", field="stage", after="title"),
     "Shows the field 'Stage' in the view 'Deals'", "low"),
    (op("add_view_column", view="pipeline", field="value"), "Shows the field 'Value' in the view 'Pipeline'", "low"),
    (op("remove_view_column", view="deals", field="value"),
     "Shows the field 'Value' no longer in the view 'Deals'", "low"),
    (op("remove_view_column", view="deal_form", field="closes_on"),
     "Shows the field 'Closes on' no longer in the view 'Deal'", "low"),
    (op("move_view_column", view="deals", field="value"), "Shows the field 'Value' first in the view 'Deals'", "low"),
    (op("move_view_column", view="deals", field="title", after="value"),
     "Shows the field 'Title' after 'Value' in the view 'Deals'", "low"),
    (op("set_view_order", view="deals", order=[{"field": "value", "descending": True}]),
     "Orders the view 'Deals' by 'Value', largest first", "low"),
    (op("set_view_filter", view="deals", where={"field": "stage", "is": "one_of", "value": ["open", "won"]}),
     "Lets the view 'Deals' show records where 'Stage' is one of 'Open' and 'Won'", "medium"),
    (op("set_view_filter", view="deals", where=None), "Lets the view 'Deals' show every record", "medium"),
    (op("add_form_field", view="deal_form", field="rank", after="value"),
     "Asks for the field 'Rank' in the view 'Deal'", "low"),
    (op("add_form_field", view="deal_form", field="rank", section="More"),
     "Asks for the field 'Rank' in the view 'Deal'", "low"),
    (op("set_view_roles", view="deals", roles=["client_owner", "client_approver"]),
     "Lets owners and approvers see the view 'Deals'", "high"),
    (op("add_workflow", workflow="sizes", definition=_SIZING),
     "Adds the workflow 'Sizes': 'Size' of deals changes by 1 step only", "high"),
    (op("add_transition", workflow="deal_stage", definition=_STEP),
     "Adds the step 'Open again' from 'Lost' to 'Open' to the workflow 'Stages of a deal'", "high"),
    (op("remove_transition", workflow="deal_stage", action="lose"),
     "Removes the step 'Lost' of the workflow 'Stages of a deal'", "high"),
    (op("add_automation", automation="welcome", definition=_MAILING),
     "Adds the automation 'Welcome': when deals are created, it sends the mail 'Thank you'", "high"),
    (op("add_automation", automation="welcome", definition={**_MAILING, "enabled": False}),
     "Adds the automation 'Welcome': when deals are created, it sends the mail 'Thank you'; it is switched off",
     "medium"),
    (op("add_automation", automation="ranking", definition=_RANKING),
     "Adds the automation 'Rank': when deals are created, it sets 'Rank' to 1", "medium"),
    (op("enable_automation", automation="thank"), "Switches the automation 'Say thank you' on", "high"),
    (op("remove_automation", automation="thank"), "Removes the automation 'Say thank you'", "medium"),
    (op("add_template", template="welcome", definition={"title": "Welcome", "subject": "Hello"}, text="Hello"),
     "Adds the mail 'Welcome' with the subject 'Hello'", "medium"),
    (op("set_template", template="thanks", subject="Many thanks"),
     "Gives the mail 'Thank you' the subject 'Many thanks'", "medium"),
    (op("set_template", template="thanks", text="Thank you for {{ deal.value }}"),
     "Gives the mail 'Thank you' the text", "medium"),
    (op("add_report", report="sizes", definition=_REPORT), "Adds the report 'Sizes' of deals", "medium"),
    (op("set_report", report="won_deals", definition={**_REPORT, "title": "Won deals"}),
     "Changes what is in the report 'Won deals'", "low"),
    (op("add_schedule", schedule="weekly", definition=_WEEKLY),
     "Adds the schedule 'Weekly', which makes the report 'Won deals' at '0 8 * * MON' (UTC)", "medium"),
    (op("set_schedule", schedule="monthly", cron="0 9 1 * *"),
     "Changes the schedule 'Every month': it runs at '0 9 1 * *'", "medium"),
    (op("disable_schedule", schedule="monthly"), "Switches the schedule 'Every month' off", "medium"),
    (op("install_module", module="stock", version="1.0.0"), "Installs the module stock 1.0.0", "medium"),
    (op("upgrade_module", module="crm", version="1.1.0"), "Upgrades the module crm from 1.0.0 to 1.1.0", "medium"),
    (op("disable_module", module="crm"),
     "Takes the module crm out, with its examples and its schedules; its views and records stay", "destructive"),
    (op("set_module_config", module="crm", key="rows", value=20), "Sets 'Rows' of the module crm to 20", "medium"),
    (op("set_config", integration="shop", key="region", value="us"), "Sets 'region' of 'Shop' to 'us'", "medium"),
    (op("set_config", integration="shop", key="hook", value="https://example.com/in"),
     "Sets 'hook' of 'Shop' to 'https://example.com/in'", "high"),
    (op("map_integration_field", integration="shop", source="mail", field="email"),
     "Takes 'mail' of 'Shop' over into the field 'email'", "medium"),
    (op("map_integration_field", integration="shop", source="name", field=None),
     "Takes 'name' of 'Shop' over no more", "medium"),
    (op("set_policy", policy={"approvals": {"high": 3}}),
     "Asks of changes, beyond the platform's rules: 3 approvals for a change of high risk", "medium"),
    (op("set_policy", policy={"approvals": {"high": 1}, "max_change_mtok": 5000}),
     "Asks of changes, beyond the platform's rules: "
     "1 approval for a change of high risk and a price of at most 5000 mtok",
     "high"),
    (op("add_example", example="opening", definition=_EXAMPLE),
     "Adds the example 'A deal begins open', which every later change must keep", "low"),
    (op("remove_example", example="winning"),
     "Removes the example 'A deal that is won thanks the customer'", "medium"),
]  # fmt: skip

#: Each with the rule that it breaks: of an operation, or of the app that would come of it.
DOES_NOT_FIT: list[tuple[Operation, str]] = [
    (op("add_entity", entity="deal", title="D", plural="D", named_by="n", fields={"n": _NOTE}), "taken"),
    (op("add_entity", entity="cake", title="C", plural="C", named_by="x", fields={"n": _NOTE}), "reference"),
    (op("hide_entity", entity="ghost"), "unknown"),
    (op("show_entity", entity="deal"), "already"),
    (op("rename_entity", entity="ghost", title="G", plural="Gs"), "unknown"),
    (op("add_field", **_of("value", definition=_DATE)), "taken"),
    (op("add_field", **_of("owner", definition={"type": "reference", "label": "Owner", "to": "ghost"})), "reference"),
    (op("rename_field", **_of("value", label="Value")), "already"),
    (op("hide_field", **_of("title")), "required"),
    (op("hide_field", **_of("stage")), "used"),
    (op("hide_field", **_of("value")), "used"),
    (op("show_field", **_of("ghost")), "unknown"),
    (op("purge_field", **_of("value")), "not_hidden"),
    (op("require_field", **_of("old")), "hidden"),
    (op("relax_field", **_of("value")), "already"),
    (op("set_field_default", **_of("stage", default="gone")), "value_error"),
    (op("set_field_help", **_of("ghost", help="Boo")), "unknown"),
    (op("add_option", **_of("stage", value="won", label="Won")), "taken"),
    (op("add_option", **_of("title", value="won", label="Won")), "type"),
    (op("rename_option", **_of("stage", value="gone", label="Gone")), "unknown"),
    (op("remove_option", **_of("stage", value="won")), "used"),
    (op("remove_option", **_of("stage", value="open")), "used"),
    (op("set_field_limits", **_of("title", minimum=1)), "type"),
    (op("set_field_limits", **_of("rank", minimum=10)), "value_error"),
    (op("mark_personal", **_of("rank")), "indexed"),
    (op("set_field_type", **_of("value", type="decimal")), "narrows"),
    (op("set_field_type", **_of("stage", type="text")), "type"),
    (op("add_list_view", view="deals", definition=_LIST), "taken"),
    (op("add_list_view", view="olds", definition={**_LIST, "columns": [{"field": "old"}]}), "hidden"),
    (op("add_board_view", view="sizes", definition={**_BOARD, "group_by": "title"}), "type"),
    (op("add_form_view", view="ghosts", definition={**_FORM, "entity": "ghost"}), "reference"),
    (op("add_chart_view", view="sizes", definition={**_CHART, "group_by": {"field": "ghost"}}), "reference"),
    (op("remove_view", view="ghosts"), "unknown"),
    (op("rename_view", view="deals", title="Deals"), "already"),
    (op("add_view_column", view="deals", field="ghost"), "reference"),
    (op("add_view_column", view="deal_form", field="rank"), "kind"),
    (op("add_view_column", view="deals", field="value"), "already"),
    (op("remove_view_column", view="pipeline", field="title"), "last"),
    (op("remove_view_column", view="deals", field="stage"), "unknown"),
    (op("move_view_column", view="deals", field="stage"), "unknown"),
    (op("set_view_order", view="pipeline", order=[]), "kind"),
    (op("set_view_filter", view="deals", where={"field": "stage", "is": "equal", "value": "gone"}), "reference"),
    (op("add_form_field", view="deal_form", field="old"), "hidden"),
    (op("add_form_field", view="deal_form", field="rank", after="email"), "unknown"),
    (op("set_view_roles", view="deals", roles=[]), "already"),
    (op("add_workflow", workflow="again", definition={**_SIZING, "field": "title"}), "type"),
    (op("add_transition", workflow="deal_stage", definition={**_STEP, "action": "win"}), "taken"),
    (op("add_transition", workflow="deal_stage", definition={**_STEP, "to": "gone"}), "reference"),
    (op("remove_transition", workflow="deal_stage", action="win"), "used"),
    (op("add_automation", automation="thank", definition=_MAILING), "taken"),
    (op("add_automation", automation="fill", definition={
        **_RANKING, "actions": [{"do": "set_field", "field": "old", "value": "x"}]}), "hidden"),
    (op("enable_automation", automation="ghost"), "unknown"),
    (op("disable_automation", automation="thank"), "already"),
    (op("remove_automation", automation="ghost"), "unknown"),
    (op("add_template", template="thanks", definition={"title": "T", "subject": "T"}, text="T"), "taken"),
    (op("set_template", template="thanks"), "already"),
    (op("add_report", report="sizes", definition={**_REPORT, "group_by": [{"field": "size", "by": "month"}]}), "type"),
    (op("set_report", report="ghosts", definition=_REPORT), "unknown"),
    (op("add_schedule", schedule="weekly", definition={
        **_WEEKLY, "job": {"run": "report", "report": "ghosts"}}), "reference"),
    (op("set_schedule", schedule="monthly"), "already"),
    (op("enable_schedule", schedule="monthly"), "already"),
    (op("disable_schedule", schedule="ghost"), "unknown"),
    (op("install_module", module="crm", version="1.1.0"), "taken"),
    (op("install_module", module="stock", version="9.0.0"), "unknown"),
    (op("upgrade_module", module="stock", version="1.0.0"), "unknown"),
    (op("upgrade_module", module="crm", version="0.9.0"), "older"),
    (op("disable_module", module="stock"), "unknown"),
    (op("set_module_config", module="crm", key="columns", value=3), "unknown"),
    (op("set_module_config", module="crm", key="rows", value=None), "already"),
    (op("set_config", integration="ghost", key="region", value="eu"), "unknown"),
    (op("map_integration_field", integration="shop", source="ghost", field=None), "already"),
    (op("set_policy", policy={"approvals": {"high": 2}}), "already"),
    (op("add_example", example="flying", definition={
        **_EXAMPLE, "when": [{"take": "fly", "record": "one"}]}), "reference"),
    (op("remove_example", example="ghost"), "unknown"),
]  # fmt: skip

_FIELDS = st.sampled_from([*GROUND.files["entities/deal.json"]["fields"], "ghost", "fresh"])
_VIEWS = st.sampled_from([*GROUND.names("views"), "fresh"])
_LABELS = st.sampled_from(["Worth", "Due", "Café", "x"])
_OPTIONS = st.sampled_from(["open", "won", "lost", "small", "large", "paused"])
_CONDITIONS = st.recursive(
    st.one_of(
        st.builds(lambda field, value: {"field": field, "is": "equal", "value": value}, _FIELDS, _OPTIONS),
        st.builds(lambda field: {"field": field, "is": "is_filled"}, _FIELDS),
    ),
    lambda inner: st.one_of(
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)
_AFTER = st.none() | _FIELDS
_DEFINITIONS = st.sampled_from([
    _DATE, _NOTE, {"type": "choice", "label": "Size", "options": options("small", "large")},
    {"type": "integer", "label": "Rank", "default": 3}, {"type": "boolean", "label": "Done", "required": True},
])  # fmt: skip


@st.composite
def _drawn(draw: st.DrawFn) -> Operation:
    """An operation about the deals of the ground, with names that may or may not be there."""
    name = draw(st.sampled_from(sorted(_MEMBERS)))
    place = {"view": _VIEWS} if "view" in name else {"entity": st.just("deal"), "field": _FIELDS}
    return op(name, **{member: draw(strategy) for member, strategy in (place | _MEMBERS[name]).items()})


_MEMBERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "add_field": {"definition": _DEFINITIONS},
    "rename_field": {"label": _LABELS},
    "hide_field": {},
    "show_field": {},
    "purge_field": {},
    "require_field": {},
    "relax_field": {},
    "set_field_default": {"default": st.none() | _OPTIONS | st.integers(0, 9)},
    "set_field_limits": {"maximum": st.none() | st.integers(0, 9), "max_length": st.none() | st.integers(1, 900)},
    "set_field_type": {"type": st.sampled_from(["text", "long_text", "decimal"])},
    "add_option": {"value": _OPTIONS, "label": _LABELS},
    "rename_option": {"value": _OPTIONS, "label": _LABELS},
    "remove_option": {"value": _OPTIONS},
    "mark_personal": {},
    "remove_view": {},
    "rename_view": {"title": _LABELS},
    "add_view_column": {"field": _FIELDS, "after": _AFTER},
    "remove_view_column": {"field": _FIELDS},
    "move_view_column": {"field": _FIELDS, "after": _AFTER},
    "set_view_order": {"order": st.lists(st.builds(lambda name: {"field": name}, _FIELDS), max_size=2)},
    "set_view_filter": {"where": st.none() | _CONDITIONS},
    "set_view_roles": {"roles": st.lists(st.sampled_from(["client_owner", "client_member"]), max_size=2)},
}


def operations() -> st.SearchStrategy[Operation]:
    """Any operation: one that is told in the stories, or one with names of its own."""
    told = [operation for operation, *_ in FITS] + [operation for operation, _ in DOES_NOT_FIT]
    return st.sampled_from(told) | _drawn()


def fitting(tree: AppTree, some: list[Operation]) -> list[Operation]:
    """Those of the operations that fit a tree."""
    found = []
    for operation in some:
        with contextlib.suppress(FelixError):
            operation.apply(tree, LIBRARY)
            found.append(operation)
    return found


@st.composite
def trees(draw: st.DrawFn) -> AppTree:
    """The ground, and what some operations make of it."""
    tree = GROUND
    for operation in draw(st.lists(operations(), max_size=3)):
        with contextlib.suppress(FelixError):
            tree = operation.apply(tree, LIBRARY)
    return tree


#: Operations that are all about one field, from every side: what one relies on, another one takes away.
ABOUT_ONE_FIELD: list[Operation] = [
    op("rename_field", **_of("size", label="Format")),
    op("hide_field", **_of("size")),
    op("require_field", **_of("size")),
    op("set_field_default", **_of("size", default="large")),
    op("set_field_type", **_of("size", type="text")),
    op("add_option", **_of("size", value="huge", label="Huge")),
    op("remove_option", **_of("size", value="large")),
    op("mark_personal", **_of("size")),
    op("add_view_column", view="deals", field="size"),
    op("add_view_column", view="pipeline", field="size"),
    op("add_form_field", view="deal_form", field="size"),
    op("set_view_filter", view="pipeline", where={"field": "size", "is": "equal", "value": "large"}),
    op("add_list_view", view="big", definition={**_LIST, "order": [{"field": "size"}]}),
    op("add_board_view", view="sizes", definition=_BOARD),
    op("add_chart_view", view="size_chart", definition=_CHART),
    op("add_workflow", workflow="sizes", definition=_SIZING),
    op("add_report", report="sizes", definition=_REPORT),
    op("add_automation", automation="grow", definition={
        **_RANKING, "actions": [{"do": "set_field", "field": "size", "value": "large"}]}),
    op("add_example", example="large", definition={
        **_EXAMPLE, "when": [{"create": "one", "entity": "deal", "values": {"title": "Bread", "size": "large"}}]}),
    op("set_template", template="thanks", text="It was {{ deal.size }}"),
    op("hide_entity", entity="deal"),
    op("disable_module", module="crm"),
]  # fmt: skip
