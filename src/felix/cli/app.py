"""The commands of ``felix``, each loaded when it is used; and what becomes of an error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from types import TracebackType

from cyclopts import App, Group

from felix import __version__

RUNNING = Group("Run Felix", sort_key=1)
BOOKS = Group("Clients and tokens", sort_key=2)
APPS = Group("Apps and changes", sort_key=3)
LOG = Group("Events and proof", sort_key=4)

#: Name, where it is, its first sentence (which a test compares with the docstring: importing all of them takes longer
#: than showing the help may take), and its group. ``None`` as place: a group of commands in felix.cli.<name>.
COMMANDS: tuple[tuple[str, str, str, Group], ...] = (
    ("up", "felix.cli.up:up", "Start Felix here and keep it running until Ctrl-C.", RUNNING),
    ("demo", "felix.cli.demo:demo", "Make five synthetic tenants and let their apps use tokens until Ctrl-C.", RUNNING),
    ("status", "felix.cli.status:status", "Say what runs, how far the log is, and whether Felix is ready.", RUNNING),
    ("doctor", "felix.cli.doctor:doctor", "Check everything here and say what to do about what is wrong.", RUNNING),
    ("migrate", "felix.cli.migrate:migrate", "Bring the database and the read models up to date.", RUNNING),
    (
        "backup",
        "felix.cli.backup:app",
        "Make backups of the embedded Postgres, list, verify and prune them.",
        RUNNING,
    ),
    (
        "restore",
        "felix.cli.restore:restore",
        "Restore the database as it was at a moment, into a new directory or in place of a stopped one.",
        RUNNING,
    ),
    ("drill", "felix.cli.drill:app", "Prove that what is there for an emergency works, without one.", RUNNING),
    ("bench", "felix.cli.bench:bench", "Measure throughput and latency on this machine.", RUNNING),
    ("docs", "felix.cli.docs:app", "Write the pages that are generated from the code, or check them.", RUNNING),
    ("jobs", "felix.cli.jobs:app", "Show what is done later, and retry or cancel what has failed.", RUNNING),
    (
        "projections",
        "felix.cli.projections:app",
        "Show how the read models are, rebuild them, and retry what they stopped for.",
        RUNNING,
    ),
    ("tenants", "felix.cli.tenants:app", "List clients and take new ones on board.", BOOKS),
    ("sessions", "felix.cli.sessions:app", "Show where people are signed in, and sign them out.", BOOKS),
    ("users", "felix.cli.users:app", "List the people who are known, and let them in or keep them out.", BOOKS),
    (
        "invite",
        "felix.cli.invite:invite",
        "Invite somebody to become a member of a client, and print the link with which they accept.",
        BOOKS,
    ),
    ("keys", "felix.cli.keys:app", "Make, list, rotate and revoke API keys.", BOOKS),
    (
        "privacy",
        "felix.cli.privacy:app",
        "Show what is kept about a person, erase it, and check what was revealed.",
        BOOKS,
    ),
    ("authz", "felix.cli.authz:app", "Show who may do what.", BOOKS),
    (
        "secrets",
        "felix.cli.secrets:app",
        "Set, list and remove clients' secrets, and rotate the keys they are sealed with.",
        BOOKS,
    ),
    ("documents", "felix.cli.documents:app", "Add, list and remove what planners may read of a client.", APPS),
    ("context", "felix.cli.context:commands", "Show what a planner would be told of a prompt.", APPS),
    (
        "modules",
        "felix.cli.modules:app",
        "List the modules that apps are made of, and show what each of them brings.",
        BOOKS,
    ),
    ("records", "felix.cli.records:app", "List, show, add and change what clients keep in their apps.", APPS),
    ("tokens", "felix.cli.tokens:app", "Open token accounts, and grant, hold, debit and show tokens.", BOOKS),
    ("usage", "felix.cli.usage:app", "Import usage from a file, and show what was used.", BOOKS),
    ("meters", "felix.cli.meters:app", "Define meters and list them.", BOOKS),
    ("rates", "felix.cli.rates:app", "Publish rate cards and show them.", BOOKS),
    ("apps", "felix.cli.apps:app", "Begin apps with modules, and show what of each runs where.", APPS),
    (
        "changes",
        "felix.cli.changes:app",
        "Ask for changes of apps in words, look at them, agree, deploy and roll back.",
        APPS,
    ),
    ("events", "felix.cli.events:app", "Show events and follow them.", LOG),
    ("live", "felix.cli.live:live", "Follow what happens over HTTP, as dashboards do, until Ctrl-C.", LOG),
    ("streams", "felix.cli.streams:app", "List the streams of the log.", LOG),
    ("audit", "felix.cli.audit:app", "Show who asked for what, why, and what became of it.", LOG),
    ("replay", "felix.cli.replay:replay", "Show a token account as it was, and every cause of its balance.", LOG),
    ("verify", "felix.cli.verify:app", "Prove that what is stored is consistent.", LOG),
)


ASK_STATUS = "Is `felix up` running on this data directory? `felix status` says more."


def make_app() -> App:
    """The command line as a tree of commands."""
    app = App(
        name="felix",
        help="Felix runs business apps for clients, paid in prepaid tokens, on an event-sourced ledger.",
        help_epilogue="Settings are read from FELIX_… variables or a file .env; see .env.example.",
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, place, sentence, group in COMMANDS:
        app.command(place, name=name, help=sentence, group=group)
    app.command(_install_completion, name="completion", group=RUNNING)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and answer its exit code. Wrong usage leaves by ``SystemExit(2)``."""
    # Libraries warn of what becomes an error in a sentence anyway.
    logging.getLogger().addHandler(logging.NullHandler())
    app = make_app()
    try:
        result = app(list(arguments))
    except BrokenPipeError:
        # Whoever read our output has enough of it. Without this, Python complains once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _named_errors() as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


def _install_completion() -> None:
    """Install completion of commands and options for your shell."""
    make_app().install_completion()


def _named_errors() -> tuple[type[Exception], ...]:
    """What is told in a sentence instead of a traceback. Evaluated only once something was raised."""
    from pydantic import ValidationError

    from felix.bootstrap import DATABASE_ERRORS
    from felix.domain.errors import FelixError
    from felix.embedded.errors import EmbeddedError

    return (FelixError, EmbeddedError, ValidationError, *DATABASE_ERRORS)


def _explain(error: Exception) -> int:
    """Print what is the case, and the exit code for it."""
    from pydantic import ValidationError

    from felix.adapters.logs import redact
    from felix.domain.errors import FelixError, Unavailable
    from felix.embedded.errors import EmbeddedError

    hint, code, wrong = "", type(error).__name__, list[str]()
    if isinstance(error, ValidationError):
        for entry in error.errors(include_url=False):
            where = ".".join(str(part) for part in entry["loc"]) or error.title
            _print_error(f"{where}: {entry['msg']}", "invalid")
        return 2
    if isinstance(error, EmbeddedError):
        message, hint = error.message, error.hint
    elif isinstance(error, FelixError):
        message, code = error.detail, error.code
        hint = str(error.facts.get("hint", ""))
        if isinstance(error, Unavailable) and not hint and code != "not_running":
            hint = ASK_STATUS
        wrong = [f"{each['pointer'] or '/'}: {each['detail']}" for each in error.facts.get("errors", ())]
        known = [
            f"{name}: {value}"
            for name, value in error.facts.items()
            if name not in ("hint", "errors") and value not in (None, "")
        ]
        if known and not hint:
            message += f" [{', '.join(known)}]"
    else:
        message, code = f"The database can't be reached: {str(error).strip()}", "unavailable"
        hint = ASK_STATUS
    _print_error(message, code)
    for each in wrong:
        print(f"       {redact(each)}", file=sys.stderr)
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)
    return 2 if code == "usage_error" else 1


def tell_of_a_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback, as ever, without what looks like a secret."""
    import traceback

    from felix.adapters.logs import redact

    print(redact("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _print_error(message: str, code: str) -> None:
    from felix.adapters.logs import redact

    print(f"error: {redact(message)} ({code})", file=sys.stderr)
