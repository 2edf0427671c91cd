"""``docs/planner.md``: what can be said to the grammar planner, from the table of its sentences."""

from __future__ import annotations

from typing import NamedTuple

from felix.cli.docs.catalogue import GENERATED
from felix.domain.changes.planning.grammar.notation import SAME
from felix.domain.changes.planning.grammar.sentences import SENTENCES


class Figures(NamedTuple):
    """What the planner made of a set of prompts: clear ones have one right plan, doubtful ones have none."""

    clear: int
    right: int
    wrong: int
    doubtful: int
    guessed: int

    @property
    def precision(self) -> float:
        """Of what was planned, the part that was right."""
        return self.right / (self.right + self.wrong + self.guessed)

    @property
    def recall(self) -> float:
        """Of what was clear, the part that was planned right."""
        return self.right / self.clear


#: The first look can't be taken again; tests/planning/test_held_out.py counts the others anew.
FIRST_LOOK = Figures(clear=71, right=44, wrong=0, doubtful=21, guessed=0)
SECOND = Figures(clear=71, right=50, wrong=0, doubtful=21, guessed=0)
THIRD = Figures(clear=69, right=39, wrong=0, doubtful=22, guessed=0)


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
    lines += ["", *_held_out()]
    return "\n".join(lines) + "\n"


def _held_out() -> list[str]:
    planned = THIRD.right + THIRD.wrong + THIRD.guessed
    least = 0.05 ** (1 / planned)
    rows = {"second, at first look": FIRST_LOOK, "second, now": SECOND, "third, once after all mending": THIRD}
    return [
        "## Prompts that it was not written for",
        "",
        "Two sets of prompts about three apps (the sample of the tests, crm, crm with inventory), written as clients",
        "write, by somebody who knew this page and had not read the grammar. Clear ones have one right list of",
        "operations; doubtful ones are vague, unsafe or impossible, and must be asked back. The third set is the",
        "held-out figure: the planner was changed between the looks at the second set, and not after the third.",
        "Precision is what was right of all that was planned, recall what was right of all that was clear.",
        "",
        "| set | clear | right | wrong | asked back | doubtful | of them planned | precision | recall |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {of.clear} | {of.right} | {of.wrong} | {of.clear - of.right - of.wrong} | {of.doubtful} "
            f"| {of.guessed} | {of.precision:.2f} | {of.recall:.2f} |"
            for name, of in rows.items()
        ),
        "",
        f"{planned} plans show no more than this: a planner that is right less often than {least:.0%} would have",
        "planned something wrong in 19 of 20 such sets.",
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
