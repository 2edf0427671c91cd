"""Views: lists, boards, forms and charts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Bounds

from felix.domain.apps.base import AppRole, Condition, Label, SpecName
from felix.domain.apps.spelling import plain
from felix.domain.apps.surfaces import BoardView, ChartView, Column, FormView, ListView, Order
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.words import Words, listed, quoted

#: What people call a role.
ROLES: dict[AppRole, str] = {
    "client_owner": "owners",
    "client_approver": "approvers",
    "client_member": "members",
}


class _OfView(Drawn):
    view: SpecName

    @property
    def _path(self) -> str:
        return f"views/{self.view}.json"

    def _of_kind(self, draft: Draft, *kinds: str) -> dict[str, Any]:
        view: dict[str, Any] = draft.file(self._path)
        if view["kind"] not in kinds:
            detail = f"{self.view} is a {view['kind']}; needed is a {' or a '.join(kinds)}"
            draft.refuse("kind", self._path, "/kind", detail)
        return view

    def _said(self, words: Words) -> str:
        return f"the view {words.title('views', self.view)}"


class _AddView(_OfView):
    definition: ListView | BoardView | FormView | ChartView

    def draw(self, draft: Draft) -> None:
        draft.add(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        definition = self.definition
        seen = f", seen by {_roles(definition.roles)}" if definition.roles else ""
        return f"Adds the {definition.kind} {quoted(definition.title)} of {words.entity(definition.entity)}{seen}"


class AddListView(_AddView):
    """Show records as rows."""

    op: Literal["add_list_view"] = "add_list_view"
    definition: ListView


class AddBoardView(_AddView):
    """Show records as cards, in one column for each option of a choice."""

    op: Literal["add_board_view"] = "add_board_view"
    definition: BoardView


class AddFormView(_AddView):
    """Show one record to read and to fill in."""

    op: Literal["add_form_view"] = "add_form_view"
    definition: FormView


class AddChartView(_AddView):
    """Show many records as a picture."""

    op: Literal["add_chart_view"] = "add_chart_view"
    definition: ChartView


class RemoveView(_OfView):
    """Take a view away. The records that it shows stay."""

    op: Literal["remove_view"] = "remove_view"

    def draw(self, draft: Draft) -> None:
        draft.remove(self._path)

    def sentence(self, words: Words) -> str:
        return f"Removes {self._said(words)}"


class RenameView(_OfView):
    """Give a view another title."""

    op: Literal["rename_view"] = "rename_view"
    title: Label

    def draw(self, draft: Draft) -> None:
        draft.file(self._path)["title"] = self.title

    def sentence(self, words: Words) -> str:
        return f"Calls {self._said(words)} {quoted(self.title)} from now on"


class AddViewColumn(_OfView):
    """Show one more field in a list or on the cards of a board."""

    op: Literal["add_view_column"] = "add_view_column"
    field: SpecName
    label: Label | None = None
    """What the column is called, where that is not the label of the field."""
    after: SpecName | None = None
    """The column that it comes after; without, it is the last."""

    def draw(self, draft: Draft) -> None:
        view = self._of_kind(draft, "list", "board")
        shown = view["columns" if view["kind"] == "list" else "card"]
        names = _names(shown)
        if self.field in names:
            draft.refuse("already", self._path, "", f"{self.view} shows {self.field} already")
        if view["kind"] == "board" and self.label is not None:
            draft.refuse("kind", self._path, "/card", "the cards of a board show a field under its own label")
        column = plain(Column(field=self.field, label=self.label)) if view["kind"] == "list" else self.field
        shown.insert(len(shown) if self.after is None else _after(draft, self, names, self.after), column)

    def sentence(self, words: Words) -> str:
        return f"Shows the field {_field(words, self.view, self.field)} in {self._said(words)}"


class RemoveViewColumn(_OfView):
    """Show a field no longer in a list, on the cards of a board, or in a form."""

    op: Literal["remove_view_column"] = "remove_view_column"
    field: SpecName

    def draw(self, draft: Draft) -> None:
        view = self._of_kind(draft, "list", "board", "form")
        places = [view[member] for member in ("columns", "card") if member in view]
        places += [section["fields"] for section in view.get("sections", ())]
        found = [shown for shown in places if self.field in _names(shown)]
        if not found:
            draft.refuse("unknown", self._path, "", f"{self.view} does not show {self.field}")
        if sum(map(len, places)) == 1:
            draft.refuse("last", self._path, "", f"{self.view} would show nothing; remove the view instead")
        for shown in found:
            del shown[_names(shown).index(self.field)]
        if "sections" in view:
            view["sections"] = [section for section in view["sections"] if section["fields"]]

    def sentence(self, words: Words) -> str:
        return f"Shows the field {_field(words, self.view, self.field)} no longer in {self._said(words)}"


class MoveViewColumn(_OfView):
    """Move a column of a list or a field on the cards of a board."""

    op: Literal["move_view_column"] = "move_view_column"
    field: SpecName
    after: SpecName | None = None
    """The column that it comes after; without, it becomes the first."""

    def draw(self, draft: Draft) -> None:
        view = self._of_kind(draft, "list", "board")
        shown = view["columns" if view["kind"] == "list" else "card"]
        place = _after(draft, self, _names(shown), self.field) - 1
        column = shown.pop(place)
        shown.insert(0 if self.after is None else _after(draft, self, _names(shown), self.after), column)

    def sentence(self, words: Words) -> str:
        where = "first" if self.after is None else f"after {_field(words, self.view, self.after)}"
        return f"Shows the field {_field(words, self.view, self.field)} {where} in {self._said(words)}"


class SetViewOrder(_OfView):
    """Say in which order a list shows its records; with nothing, in the order in which they were made."""

    op: Literal["set_view_order"] = "set_view_order"
    order: Annotated[list[Order], Bounds(max_length=3)]

    def draw(self, draft: Draft) -> None:
        view = self._of_kind(draft, "list")
        view["order"] = [plain(order) for order in self.order]
        if not self.order:
            del view["order"]

    def sentence(self, words: Words) -> str:
        by = listed(
            _field(words, self.view, order.field) + (", largest first" if order.descending else "")
            for order in self.order
        )
        return f"Orders {self._said(words)} by {by or 'the time at which records were made'}"


class SetViewFilter(_OfView):
    """Say which records a view shows; null for all."""

    op: Literal["set_view_filter"] = "set_view_filter"
    where: Condition | None

    def draw(self, draft: Draft) -> None:
        view = draft.file(self._path)
        view.pop("where", None)
        if self.where is not None:
            view["where"] = plain(self.where)

    def sentence(self, words: Words) -> str:
        if self.where is None:
            return f"Lets {self._said(words)} show every record"
        condition = words.condition(_entity(words, self.view), plain(self.where))
        return f"Lets {self._said(words)} show records where {condition}"


class AddFormField(_OfView):
    """Show one more field in a form."""

    op: Literal["add_form_field"] = "add_form_field"
    field: SpecName
    section: Label | None = None
    """The title of the section, which is added where there is none; without, it is the last one."""
    after: SpecName | None = None
    """The field that it comes after; without, it is the last of its section."""

    def draw(self, draft: Draft) -> None:
        sections = self._of_kind(draft, "form")["sections"]
        if any(self.field in section["fields"] for section in sections):
            draft.refuse("already", self._path, "/sections", f"{self.view} shows {self.field} already")
        found = [section["fields"] for section in sections if self.section in (None, section["title"])]
        if self.after is not None:
            found = [fields for fields in found if self.after in fields]
            if not found:
                draft.refuse("unknown", self._path, "/sections", f"{self.view} does not ask for {self.after} there")
            found[-1].insert(found[-1].index(self.after) + 1, self.field)
        elif found:
            found[-1].append(self.field)
        else:
            sections.append({"title": self.section, "fields": [self.field]})

    def sentence(self, words: Words) -> str:
        return f"Asks for the field {_field(words, self.view, self.field)} in {self._said(words)}"


class SetViewRoles(_OfView):
    """Say who sees a view; with nobody named, everybody does."""

    op: Literal["set_view_roles"] = "set_view_roles"
    roles: Annotated[list[AppRole], Bounds(max_length=3)]

    def draw(self, draft: Draft) -> None:
        view = draft.file(self._path)
        view["roles"] = list(dict.fromkeys(self.roles))
        if not self.roles:
            del view["roles"]

    def sentence(self, words: Words) -> str:
        return f"Lets {_roles(self.roles) or 'everybody'} see {self._said(words)}"


def _names(shown: list[Any]) -> list[str]:
    return [part if isinstance(part, str) else part["field"] for part in shown]


def _after(draft: Draft, of: _OfView, names: list[str], field: str) -> int:
    if field not in names:
        draft.refuse("unknown", f"views/{of.view}.json", "", f"{of.view} does not show {field}")
    return names.index(field) + 1


def _roles(roles: list[AppRole]) -> str:
    return listed(ROLES[role] for role in roles)


def _entity(words: Words, view: str) -> str:
    content = words.tree.files.get(f"views/{view}.json")
    return str(content.get("entity", "")) if isinstance(content, dict) else ""


def _field(words: Words, view: str, field: str) -> str:
    return words.field(_entity(words, view), field)
