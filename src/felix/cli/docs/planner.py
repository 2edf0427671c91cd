"""``docs/planner.md``: what can be said to the grammar planner, from the table of its sentences."""

from __future__ import annotations

from felix.cli.docs.catalogue import GENERATED
from felix.domain.changes.planning.grammar.notation import SAME
from felix.domain.changes.planning.grammar.sentences import SENTENCES


def page() -> str:
    """Every sentence that can be said, with an example, and the words that mean the same."""
    lines = [
        "# What you can say",
        "",
        GENERATED,
        "",
        "Without a model, Felix reads changes in plain English by a grammar. It never guesses: every word must be",
        "understood, and what could mean two things, or names what the app does not have, is asked back. Several",
        'sentences are read one after the other, parted by ".", ";", "and" or "then". What stands in quotes is taken',
        "as it is. A new name is made from the words that were said, and a new field comes into the one form of its",
        "records.",
        "",
        "`(a|b)` is either, `[a]` may be left out, `<add>` is any word that means the same (below), `{field}` is",
        "a thing of the app, called by its label or its name. Articles may stand anywhere.",
    ]
    for noun, patterns in SENTENCES.items():
        lines += ["", f"## {noun}", "", "| say | for example |", "|---|---|"]
        lines += [f"| `{_cell(pattern.says)}` | {_cell(pattern.example)} |" for pattern in patterns if pattern.example]
    lines += ["", "## Words that mean the same", "", "| | |", "|---|---|"]
    lines += [f"| `<{name}>` | {words.replace('|', ', ')} |" for name, words in SAME.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
