"""Whether the settings can be read, are known, and fit together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning
from felix.settings import Settings

PREFIX = "FELIX_"
ENV_FILE = Path(".env")
#: Read by the tests alone.
NOT_SETTINGS = frozenset({"FELIX_TEST_PROFILE"})


def settings(examination: Examination) -> Findings:
    """The settings can be read, and each has a value that it may have."""
    error = examination.unreadable_settings
    if error is None:
        yield ok("read from the environment" + (f" and {ENV_FILE}" if ENV_FILE.exists() else ""))
    elif isinstance(error, ValidationError):
        for entry in error.errors(include_url=False, include_input=False):
            name = PREFIX + "_".join(str(part) for part in entry["loc"]).upper()
            yield problem(
                f"{name}: {entry['msg']}.", "No command of Felix starts with such a value.", f"unset {name}, or mend it"
            )
    else:
        yield problem(
            f"{ENV_FILE} can't be read: {error}.",
            "Felix reads its settings from there, in UTF-8.",
            f"file {ENV_FILE}; ls -l {ENV_FILE}",
        )


def unknown_settings(examination: Examination) -> Findings:
    """No variable looks like a setting and is none."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name.upper() for name in examination.environment if name.upper().startswith(PREFIX)}
    wrong = (given | set(_names_in_env_file())) - known - NOT_SETTINGS
    for name in sorted(wrong):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"Do you mean {near[0]}?" if near else "See .env.example."
        yield warning(f"{name} is no setting.", f"It has no effect. {hint}", f"unset {name}")
    if not wrong:
        yield ok("every FELIX_… variable is a setting")


def contradictions(examination: Examination) -> Findings:
    """No setting makes another one void."""
    chosen = examination.settings
    found = False
    if chosen.database_role_password is not None and chosen.database_url is None:
        found = True
        yield warning(
            "FELIX_DATABASE_ROLE_PASSWORD is set without FELIX_DATABASE_URL.",
            "The embedded Postgres has a password of its own; this one is not used.",
            "unset FELIX_DATABASE_ROLE_PASSWORD",
        )
    if chosen.database_url is not None and chosen.database_role_password is None:
        found = True
        yield warning(
            "FELIX_DATABASE_URL is set without FELIX_DATABASE_ROLE_PASSWORD.",
            "Every process signs in as the administrator of the database and only then takes a lesser role on.",
            "export FELIX_DATABASE_ROLE_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')",
        )
    for name, secret, schemes in (
        ("DATABASE_URL", chosen.database_url, ("postgresql://", "postgres://")),
        ("REDIS_URL", chosen.redis_url, ("redis://", "rediss://", "unix://")),
    ):
        given = secret.get_secret_value() if secret else None
        # libpq takes `key=value` pairs as well, which have no scheme.
        if given is not None and not given.startswith(schemes) and not (name == "DATABASE_URL" and "=" in given):
            found = True
            yield problem(
                f"FELIX_{name} does not begin with {' or '.join(schemes)}.",
                "It names no server that Felix can talk to.",
                f"export FELIX_{name}={schemes[0]}…",
            )
    if chosen.read_timeout_s > chosen.shutdown_timeout_s / 2:
        found = True
        yield warning(
            f"FELIX_READ_TIMEOUT_S={chosen.read_timeout_s:g} is more than half of FELIX_SHUTDOWN_TIMEOUT_S"
            f"={chosen.shutdown_timeout_s:g}.",
            "A stop gives requests half of the shutdown's time: reads that wait longer are cut off.",
            f"export FELIX_SHUTDOWN_TIMEOUT_S={2 * chosen.read_timeout_s:g}",
        )
    if not found:
        yield ok("the settings fit together")


def _names_in_env_file() -> Iterator[str]:
    if ENV_FILE.is_file():
        for line in ENV_FILE.read_text().splitlines():
            name = line.strip().removeprefix("export ").partition("=")[0].strip().upper()
            if name.startswith(PREFIX):
                yield name
