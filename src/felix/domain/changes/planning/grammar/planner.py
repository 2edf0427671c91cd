"""From a prompt to operations: sentence by sentence, on the app as it is after the ones before."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import ValidationError

from felix.domain.apps.references import check
from felix.domain.apps.tree import AppTree, InvalidApp, ParsedApp
from felix.domain.changes.edits import apply
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.draft import NO_MODULES, Library
from felix.domain.changes.operations.modules import InstallModule, ModuleConflict, UpgradeModule
from felix.domain.changes.operations.union import written
from felix.domain.changes.planning.base import Answer, Asked, Declined, Planned
from felix.domain.changes.planning.grammar.names import FieldRef, Names
from felix.domain.changes.planning.grammar.notation import Needs, Part, Pattern, compiled, matches, needs_of
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene
from felix.domain.changes.planning.grammar.sentences import SENTENCES
from felix.domain.changes.planning.grammar.slots import SAID, SLOTS
from felix.domain.changes.planning.grammar.tokens import Token, source_of, tokens_of
from felix.domain.errors import FelixError

PLANNER = "grammar/1"
MAX_CHARS = 2_000
MAX_TOKENS = 300
#: Sentences and parts of sentences in one prompt.
MAX_CLAUSES = 20
#: Openings that say nothing; a question mark may only follow the ones that ask somebody to do something.
_REQUESTS = ("can you", "could you", "would you", "will you")
_OPENINGS = (
    "please", "pls", "kindly", "hi", "hello", "hi there", "i would like you to", "i'd like you to", "i want you to",
    "i'd like to", "i would like to", "we'd like to", "we would like to", "i want to", "we want to", "i need to",
    "we need to", "i need you to", "we need you to", "let's", "let us", "also", "finally", "next", "then", "now", ",",
)  # fmt: skip
_CLOSINGS = ("please", ", thanks", ", thank you", "now", ",")
_THANKS = (["thanks"], ["thank", "you"], ["many", "thanks"])
_ENDS = (".", ";", "!", "?", "\n")
_JOINTS = ("and", "then", ",", "also")


@dataclass(frozen=True, slots=True)
class _State:
    """The app as it is after the sentences before, and the field that they spoke of last."""

    tree: AppTree
    app: ParsedApp
    names: Names
    it: FieldRef | None


class _Asks(Exception):
    def __init__(self, question: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(question)
        self.answer = Asked(question, tuple(dict.fromkeys(candidates))[:20])


def plan(prompt: str, tree: AppTree, catalogue: Mapping[str, str], library: Library = NO_MODULES) -> Answer:
    """What a prompt means for an app. ``catalogue`` has the version of each module that can be installed.

    Without the files of a module in ``library``, installing and upgrading is planned and not tried. Raises
    ``InvalidApp`` where the tree is none.
    """
    if (why := _unreadable(prompt)) is not None:
        return Declined(why)
    text = unicodedata.normalize("NFC", prompt)
    tokens = tokens_of(text)
    if len(tokens) > MAX_TOKENS:
        return Declined(f"That is too long to be read word by word: at most {MAX_TOKENS} words.")
    app = tree.parsed()
    state = _State(tree, app, Names(app, catalogue), None)
    found: list[Operation] = []
    try:
        for sentence in _sentences(tokens):
            operations, state = _sentence(text, sentence, state, catalogue, library, MAX_CLAUSES)
            found += operations
    except _Asks as asks:
        return asks.answer
    if not found:
        return Asked("What should be changed?", tuple(_examples()))
    said = "; ".join(operation.describe(tree) for operation in found)
    return Planned(tuple(found), PLANNER, said)


def _unreadable(prompt: str) -> str | None:
    if not prompt.strip():
        return "There is nothing to read."
    if len(prompt) > MAX_CHARS:
        return f"That is too long to be read word by word: at most {MAX_CHARS} characters."
    hidden = [character for character in prompt if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")]
    if any(character not in "\n\t\r" for character in hidden):
        return "There are characters in it that can't be seen."
    return None


def _sentences(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    sentence: list[Token] = []
    for token in tokens:
        if token.kind == "mark" and token.word in _ENDS:
            if bare := _without_courtesy(sentence, asked=token.word == "?"):
                yield bare
            sentence = []
        else:
            sentence.append(token)
    if bare := _without_courtesy(sentence, asked=False):
        yield bare


def _without_courtesy(tokens: list[Token], *, asked: bool) -> list[Token]:
    requested, whole = False, tokens
    if [token.word for token in tokens] in _THANKS:
        return []
    while tokens:
        phrase = next((one for one in (*_REQUESTS, *_OPENINGS) if _begins(tokens, one.split())), None)
        if phrase is None:
            break
        requested = requested or phrase in _REQUESTS
        tokens = tokens[len(phrase.split()) :]
    while tokens:
        ending = next((one for one in _CLOSINGS if _ends(tokens, one.split())), None)
        if ending is None:
            break
        tokens = tokens[: -len(ending.split())]
    if asked and not requested:
        raise _Asks(f"Should that be done? Say it without a question mark: {whole[0].text if whole else ''} …")
    return tokens


def _begins(tokens: Sequence[Token], words: list[str]) -> bool:
    return [token.word for token in tokens[: len(words)]] == words and tokens[0].kind != "quoted"


def _ends(tokens: Sequence[Token], words: list[str]) -> bool:
    return len(tokens) > len(words) and [token.word for token in tokens[-len(words) :]] == words


def _sentence(
    text: str, tokens: list[Token], state: _State, catalogue: Mapping[str, str], library: Library, clauses: int
) -> tuple[list[Operation], _State]:
    """The one meaning of a sentence, whole or in parts. Raises :class:`_Asks`."""
    scene = Scene(text, tokens, state.tree, state.app, state.names, catalogue, state.it)
    whole, missing = _readings(scene)
    ways: list[tuple[list[Operation], _State]] = []
    asks: list[_Asks] = []
    if len(whole) == 1:
        try:
            ways.append((whole[0], _after(whole[0], state, catalogue, library)))
        except _Asks as refused:
            asks.append(refused)
    elif whole:
        raise _ambiguous(whole, state)
    for left, right in _parts(tokens) if clauses > 1 else ():
        first, _ = _readings(Scene(text, left, state.tree, state.app, state.names, catalogue, state.it))
        if len(first) != 1:
            continue
        try:
            then = _after(first[0], state, catalogue, library)
            rest, last = _sentence(text, right, then, catalogue, library, clauses - 1)
            ways.append((first[0] + rest, last))
        except _Asks as refused:
            asks.append(refused)
    if len({_key(operations) for operations, _ in ways}) > 1:
        raise _ambiguous([operations for operations, _ in ways], state)
    if ways and not (whole and asks and len(whole) == 1 and not any(way[0] is whole[0] for way in ways)):
        return ways[0]
    if asks:
        raise asks[0]
    if missing:
        raise _Asks(missing[0].question, missing[0].candidates)
    raise _not_understood(scene)


def _readings(scene: Scene) -> tuple[list[list[Operation]], list[Missing]]:
    """Every different thing that the whole sentence can mean, and what is missing where it is not all there."""
    found: dict[str, list[Operation]] = {}
    missing: list[Missing] = []
    said = {token.word for token in scene.tokens}
    for pattern, parts, needs in _patterns():
        if not all(any(words <= said for words in need) for need in needs):
            continue
        for bound in matches(parts, scene, SLOTS):
            try:
                operations = pattern.build(scene, bound)
            except NoReading:
                continue
            except Missing as open_:
                missing.append(open_)
                continue
            except ValidationError as error:
                missing.append(Missing(f"That can't be: {error.errors()[0]['msg']}."))
                continue
            found.setdefault(_key(operations), operations)
    return list(found.values()), missing


def _key(operations: Sequence[Operation]) -> str:
    return repr(written(operations))


def _after(operations: list[Operation], state: _State, catalogue: Mapping[str, str], library: Library) -> _State:
    """The app after them. Raises :class:`_Asks` with the reason where they are refused."""
    tree = state.tree
    try:
        for operation in operations:
            if (
                isinstance(operation, InstallModule | UpgradeModule)
                and (operation.module, operation.version) not in library
            ):
                _check_module(operation, state)
                continue
            tree = apply(tree, operation.edits(tree, library))
        app = check(tree)
    except InvalidApp as invalid:
        problem = invalid.facts["errors"][0]
        raise _Asks(f"That does not fit the app: {problem['detail']}. What should be done instead?") from None
    except ModuleConflict as conflict:
        upgrades = [operation.module for operation in operations if isinstance(operation, UpgradeModule)]
        ways = [f"Upgrade {name} {side}" for name in upgrades for side in ("keeping our changes", "taking theirs")]
        raise _Asks(conflict.detail, ways) from None
    except FelixError as refused:
        raise _Asks(f"That can't be done: {refused.detail}. What should be done instead?") from None
    if doubles := _doubles(app) - _doubles(state.app):
        raise _Asks(f"{min(doubles)[-1]!r} is there already. What should the other one be called?")
    spoken = [
        FieldRef(each.entity, each.field) for each in operations if hasattr(each, "entity") and hasattr(each, "field")
    ]
    it = spoken[0] if len(set(spoken)) == 1 else None
    return _State(tree, app, Names(app, catalogue), it)


def _doubles(app: ParsedApp) -> set[tuple[str, ...]]:
    """Labels by which nobody could tell two fields of a record, or two options of a choice, from each other."""
    said = Counter[tuple[str, ...]]()
    for name, entity in app.entities.items():
        for field_name, field in entity.fields.items():
            if not field.hidden:
                said[name, field.label.casefold()] += 1
            said.update((name, field_name, option.label.casefold()) for option in field.options or ())
    return {one for one, times in said.items() if times > 1}


def _check_module(operation: InstallModule | UpgradeModule, state: _State) -> None:
    installed = state.app.app.modules.get(operation.module)
    if isinstance(operation, InstallModule) == (installed is not None):
        raise _Asks(f"The module {operation.module} is {'' if installed else 'not '}installed. What should be done?")
    if installed == operation.version:
        raise _Asks(f"The module {operation.module} is at {installed}, and there is nothing later.")


def _parts(tokens: list[Token]) -> Iterator[tuple[list[Token], list[Token]]]:
    """A sentence cut at each place where another could begin."""
    for number, token in enumerate(tokens):
        if token.word not in _JOINTS or token.kind == "quoted" or number == 0 or tokens[number - 1].word in _JOINTS:
            continue
        after = number
        while after < len(tokens) and tokens[after].word in _JOINTS:
            after += 1
        if after < len(tokens):
            right = _without_courtesy(tokens[after:], asked=False)
            if right:
                yield tokens[:number], right


def _ambiguous(readings: Sequence[Sequence[Operation]], state: _State) -> _Asks:
    said = ["; ".join(operation.describe(state.tree) for operation in operations) for operations in readings]
    return _Asks("That can mean several things. Which one?", said)


def _not_understood(scene: Scene) -> _Asks:
    left = source_of(scene.text, scene.tokens[scene.furthest :])[:80]
    if scene.furthest == 0 or not left:
        return _Asks("That is not understood. What should be changed? For example:", _examples())
    wanted = next((SAID[slot] for slot in SAID if slot in scene.expected), None)
    asked = f" Say {wanted}." if wanted else " Say it in another way, or leave it out."
    return _Asks(f"{left!r} is not understood.{asked}", _candidates(scene))


def _candidates(scene: Scene) -> list[str]:
    spoken = {name for at in range(len(scene.tokens)) for _, name in scene.names.entities.at(scene.tokens, at)}
    if {"field", "fields"} & scene.expected:
        return [
            f"{field.label} of {entity.plural}"
            for name, entity in scene.app.entities.items()
            if not spoken or name in spoken
            for field in entity.fields.values()
        ]
    if "entity" in scene.expected:
        return [entity.plural for entity in scene.app.entities.values()]
    if "view" in scene.expected:
        return [view.title for view in scene.app.views.values()]
    if "module" in scene.expected:
        return sorted(scene.catalogue)
    return []


def _examples() -> list[str]:
    return [next(pattern.example for pattern in patterns if pattern.example) for patterns in SENTENCES.values()]


@cache
def _patterns() -> tuple[tuple[Pattern, tuple[Part, ...], Needs], ...]:
    return tuple(
        (pattern, parts := compiled(pattern.says), needs_of(parts))
        for patterns in SENTENCES.values()
        for pattern in patterns
    )
