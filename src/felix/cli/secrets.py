"""``felix secrets``: what clients have entrusted to Felix, and the keys that it is sealed with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from felix.cli.errors import UsageError, with_hint
from felix.cli.options import Reading, Showing, Writing
from felix.cli.output import console, print_facts, print_json, print_table
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.eventstore.sealing import RootKeys

app = App(name="secrets", help="Set, list and remove clients' secrets, and rotate the keys they are sealed with.")

Kind = Literal["token", "password", "private_key", "signing_secret", "other"]


@app.command(name="set")
def set_secret(name: str, *, kind: Kind = "token", overlap_hours: int = 0, writing: Writing | None = None) -> None:
    """Set a secret, or its next version; the value is read from standard input, or asked for.

    It is sealed and never shown again: felix secrets set github --tenant bakery < token.txt

    Parameters
    ----------
    name
        What adapters ask for, such as github or stripe.webhook.
    kind
        What it is; a private key is given in PEM.
    overlap_hours
        How long the version before stays usable.
    """
    from felix import bootstrap
    from felix.application.secrets import setting

    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        value = _read_value(name, kind)
        root_keys = bootstrap.root_keys(session.settings)
        fields = {"name": name, "kind": kind, "overlap_s": 3600 * overlap_hours}
        command, enclosed = setting(root_keys, place.tenant_id, fields, value)
        session.perform(place, command, writing, enclosed=enclosed)


def _read_value(name: str, kind: Kind) -> str:
    """Never from the arguments, which every user of the machine can see."""
    from getpass import getpass

    if sys.stdin.isatty():
        if kind == "private_key":
            raise UsageError("A private key comes from a file: felix secrets set NAME --kind private_key < key.pem")
        return getpass(f"Value of {name} (not shown): ")
    try:
        given = sys.stdin.buffer.read(2**20).decode()
    except UnicodeDecodeError:
        raise UsageError("The value is not text in UTF-8.") from None
    return given if kind in ("private_key", "other") else given.removesuffix("\n").removesuffix("\r")


@app.command(name="list")
def list_secrets(*, reading: Reading | None = None) -> None:
    """List a client's secrets: versions, and when each was set and last used; the values are not shown to anybody."""
    from felix.projections import secrets

    reading = reading or Reading()
    with open_session() as session:
        rows = session.ask(session.tenant(reading.tenant), lambda tx: secrets.secrets(tx, limit=1000))
    if reading.json:
        print_json(rows)
        return
    headings = {"name": "name", "version": "version", "kind": "kind", "set_at": "set", "set_by": "by"}
    headings |= {"earlier_until": "earlier until", "last_used_at": "last used", "last_used_for": "for"}
    print_table(rows, headings, empty="There are no secrets. Set one: felix secrets set NAME < FILE")


@app.command
def remove(name: str, *, reason: str | None = None, writing: Writing | None = None) -> None:
    """Delete every version of a secret.

    Parameters
    ----------
    name
        Its name, as felix secrets list shows it.
    reason
        Why, for the log.
    """
    from felix.domain.secrets.tenant_secrets import RemoveSecret

    writing = writing or Writing()
    with open_session() as session:
        session.perform(session.tenant(writing.tenant), RemoveSecret(name=name, reason=reason), writing)


@app.command
def rotate_tenant_key(*, reason: str | None = None, writing: Writing | None = None) -> None:
    """Give a client a new key; the worker then seals every secret of theirs with it.

    Parameters
    ----------
    reason
        Why, for the log.
    """
    from felix import bootstrap
    from felix.application.secrets import with_root_keys
    from felix.domain.secrets.tenant_secrets import RotateTenantKey

    writing = writing or Writing()
    with open_session() as session:
        enclosed = with_root_keys(bootstrap.root_keys(session.settings))
        place = session.tenant(writing.tenant)
        session.perform(place, RotateTenantKey(reason=reason), writing, enclosed=enclosed)


@app.command
def rotate_root(
    *,
    resume: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    showing: Showing | None = None,
) -> None:
    """Make a new root key, and seal with it what earlier ones have sealed; Felix may go on meanwhile.

    A run that was stopped is taken up by the next one, which makes no further key. Earlier keys stay behind the new one
    in the file root-key: people are found by the oldest, and backups open with theirs. With FELIX_ROOT_KEY you put the
    new key in front there, restart every process, and run this.

    Parameters
    ----------
    resume
        Make no new key whatever is there.
    """
    from felix import bootstrap
    from felix.eventstore import root_rotation

    showing = showing or Showing()
    with open_session() as session, bootstrap.connect_owner(session.endpoints) as owner:
        keys = bootstrap.root_keys(session.settings)
        if not resume and not root_rotation.outdated(owner, keys):
            keys = _put_new_key_in_front(session)
        done = _seal_anew(owner, keys, quiet=showing.json)
    facts = {"root_keys": keys.count, "sealed_anew": done}
    if showing.json:
        print_json(facts)
        return
    print_facts(facts)
    print("Back up the root key now, apart from the database: without it no secret opens.")


def _put_new_key_in_front(session: Session) -> RootKeys:
    from felix import bootstrap
    from felix.cli.installation import keep_secret
    from felix.eventstore.sealing import new_root_key

    if session.settings.root_key is not None:
        raise with_hint(
            UsageError("Everything is sealed with the first key of FELIX_ROOT_KEY."),
            "Put a new one in front of it (openssl rand -base64 32), restart every process, and run this again.",
        )
    path = session.settings.data_dir / bootstrap.ROOT_KEY_FILE
    keep_secret(path, f"{new_root_key()},{path.read_text().strip()}")
    _settle(path.parent)
    return bootstrap.root_keys(session.settings)


def _settle(directory: Path) -> None:
    """A key that a power cut takes back must not have sealed anything."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal_anew(owner: Any, keys: RootKeys, *, quiet: bool) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from felix.eventstore import root_rotation

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("keys", total=None)
        return root_rotation.seal_anew(
            owner, keys, lambda done, total: progress.update(task, completed=done, total=total)
        )
