"""Templates: the mails that an app can send."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from felix.domain.apps.base import SpecName
from felix.domain.apps.behaviour import Template
from felix.domain.apps.spelling import plain
from felix.domain.apps.tree import MAX_FILE_BYTES
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.words import Words, listed, quoted
from felix.domain.values import Text

#: Liquid. What it may name is checked by who renders it.
Body = Annotated[str, StringConstraints(min_length=1, max_length=MAX_FILE_BYTES), Text]
Subject = Annotated[str, StringConstraints(min_length=1, max_length=200), Text]


class AddTemplate(Drawn):
    """Add a mail. Nothing sends it before an automation does."""

    op: Literal["add_template"] = "add_template"
    template: SpecName
    definition: Template
    text: Body

    def draw(self, draft: Draft) -> None:
        draft.add(f"templates/{self.template}.json", plain(self.definition))
        draft.add(f"templates/{self.template}.liquid", self.text)

    def sentence(self, words: Words) -> str:
        return f"Adds the mail {quoted(self.definition.title)} with the subject {quoted(self.definition.subject)}"


class SetTemplate(Drawn):
    """Change the subject or the text of a mail. What is not given stays as it is."""

    op: Literal["set_template"] = "set_template"
    template: SpecName
    subject: Subject | None = None
    text: Body | None = None

    def draw(self, draft: Draft) -> None:
        content = draft.file(f"templates/{self.template}.json")
        if self.subject is not None:
            content["subject"] = self.subject
        if self.text is not None:
            draft.put(f"templates/{self.template}.liquid", self.text)

    def sentence(self, words: Words) -> str:
        new = ["the text"] if self.text is not None else []
        if self.subject is not None:
            new.insert(0, f"the subject {quoted(self.subject)}")
        return f"Gives the mail {words.title('templates', self.template)} {listed(new) or 'what it has'}"
