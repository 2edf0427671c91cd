"""The client's repository beside the log: each change is a commit, and each environment a ref.

The log is ahead: a ref is moved after the event that says what runs, by whoever takes the next step. A worker that died
in between has left nothing behind that the next one would not mend.
"""

from __future__ import annotations

from collections.abc import Sequence

from felix.application.changes.steps.workbench import Look, Place, Workbench
from felix.domain.apps.tree import AppTree
from felix.domain.changes.environment import AppEnvironment

AUTHOR = "felix"
#: How often a ref that others move at the same time is looked at again; each of them moves it to where the log says.
MAX_MOVES = 10
#: Sentences of a commit's message; the diff has all.
MAX_SENTENCES = 50


def commit_that_runs(bench: Workbench, place: Place, environment: AppEnvironment) -> str:
    """The commit of what runs; of an app that began without one, the first commit that its repository has."""
    if environment.commit is not None:
        return environment.commit
    tree = bench.releases.tree(environment.stable)
    return bench.repository(place[1]).record(tree, None, f"Begin {environment.app}", AUTHOR, environment.created_on)


def commit_of(look: Look, tree: AppTree, parent: str, effects: Sequence[str]) -> str:
    """The commit of what a change makes of what runs, with a ref that keeps it.

    It says what is different and not what was asked, which is personal.
    """
    message = "\n".join([*effects[:1], "", *effects[1:MAX_SENTENCES], f"Change: {look.change.local_id}"])
    repository = look.bench.repository(look.place[1])
    commit = repository.record(tree, parent, message, AUTHOR, look.change.created_on)
    ref = f"refs/changes/{look.change.local_id}"
    repository.move(ref, repository.head(ref), commit)
    return commit


def follow(bench: Workbench, place: Place, environment_id: str) -> int:
    """Let the refs of an environment point to what runs in it; how many moved.

    After a move it looks again, for what ran may be over by then: who moves last has seen the last event.
    """
    moved = 0
    repository = bench.repository(place[1])
    for _ in range(MAX_MOVES):
        heads = {ref: repository.head(ref) for ref in _refs(environment_id)}
        environment = bench.aggregates.find(place, AppEnvironment, environment_id)
        if environment is None or (environment.commit is None and not any(heads.values())):
            break
        commit = commit_that_runs(bench, place, environment)
        behind = [ref for ref, head in heads.items() if head != commit]
        if not behind:
            break
        moved += sum(repository.move(ref, heads[ref], commit) for ref in behind)
    return moved


def _refs(environment_id: str) -> list[str]:
    """The ref of an environment; that of production is the app's branch, too."""
    app, _, environment = environment_id.rpartition(".")
    return [f"refs/env/{app}/{environment}", *([f"refs/heads/{app}"] if environment == "production" else [])]
