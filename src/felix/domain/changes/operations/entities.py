"""Entities: what the app keeps records of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bounds

from felix.domain.apps.base import Label, SpecName
from felix.domain.apps.entities import MAX_FIELDS, Field
from felix.domain.apps.spelling import plain
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft, switch
from felix.domain.changes.words import Words, counted, quoted


class AddEntity(Drawn):
    """Keep records of something new. Views of it are operations of their own."""

    op: Literal["add_entity"] = "add_entity"
    entity: SpecName
    title: Label
    plural: Label
    named_by: SpecName
    """The field that a record is called by."""
    fields: Annotated[dict[SpecName, Field], Bounds(min_length=1, max_length=MAX_FIELDS)]

    def draw(self, draft: Draft) -> None:
        content = {"title": self.title, "plural": self.plural, "named_by": self.named_by}
        fields = {name: plain(field) for name, field in self.fields.items()}
        draft.add(f"entities/{self.entity}.json", content | {"fields": fields})

    def sentence(self, words: Words) -> str:
        return f"Begins to keep {quoted(self.plural)}, with {counted(len(self.fields), 'field')}"


class HideEntity(Drawn):
    """Show an entity and its views nowhere. Its records are kept; its views come back when it is shown again."""

    op: Literal["hide_entity"] = "hide_entity"
    entity: SpecName

    def draw(self, draft: Draft) -> None:
        switch(draft.entity(self.entity), "hidden", True, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Hides {words.entity(self.entity)} and every view of them; the records are kept"


class ShowEntity(Drawn):
    """Show a hidden entity again."""

    op: Literal["show_entity"] = "show_entity"
    entity: SpecName

    def draw(self, draft: Draft) -> None:
        switch(draft.entity(self.entity), "hidden", False, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Shows {words.entity(self.entity)} again"


class RenameEntity(Drawn):
    """Call an entity something else. Its name in files, and every record, stay as they are."""

    op: Literal["rename_entity"] = "rename_entity"
    entity: SpecName
    title: Label
    plural: Label

    def draw(self, draft: Draft) -> None:
        draft.entity(self.entity).update(title=self.title, plural=self.plural)

    def sentence(self, words: Words) -> str:
        return (
            f"Calls {words.entity(self.entity)} {quoted(self.plural)} from now on, and one of them {quoted(self.title)}"
        )
