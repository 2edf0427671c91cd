"""``felix up``: start everything, say where it is, keep it running, stop it in order."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from felix.cli.installation import Installation
from felix.embedded import StartCancelled
from felix.settings import Settings

#: How long the worker may take to retell what the demo begins with; it starts while that is written.
CATCH_UP_PATIENCE_S = 15.0


def up(*, demo: bool = False) -> int:
    """Start Felix here and keep it running until Ctrl-C.

    Starts Postgres and Valkey under the data directory (or uses FELIX_DATABASE_URL and FELIX_REDIS_URL), migrates,
    then runs the API and the worker, and starts again whatever dies. One Ctrl-C or SIGTERM stops all of it in order
    and loses nothing.

    Parameters
    ----------
    demo
        Also make five synthetic tenants and let their apps use tokens for as long as Felix runs.
    """
    began_at = time.monotonic()
    settings = Settings()
    _make_room(settings.data_dir)
    installation = Installation(settings, _say)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: installation.request_stop())
    try:
        installation.start()
        if not installation.stop_requested:
            _introduce(installation, time.monotonic() - began_at)
            if demo:
                _show_demo(installation)
            installation.watch()
    except StartCancelled:
        if not installation.stop_requested:
            raise
    finally:
        stopping_at = time.monotonic()
        if installation.stop_requested:
            _say("stopping ...")
        installation.stop()
    _say(f"everything is stopped after {time.monotonic() - stopping_at:.1f} s")
    return 0


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _make_room(data_dir: Path) -> None:
    """As root, keep the data where the servers' own user can get at it; a link in the chosen place leads there.

    The servers never run as root, and Felix never opens a closed directory (such as the root user's home) for them.
    """
    if os.geteuid() != 0 or data_dir.exists() or data_dir.is_symlink():
        return
    from felix.embedded.account import first_blocked, service_account

    place = data_dir.absolute()
    existing = next(path for path in place.parents if path.exists())
    if first_blocked(service_account(place / "pgdata"), [existing.resolve()]) is None:
        return
    import hashlib

    home = Path("/var/lib/felix") / hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    home.mkdir(parents=True, exist_ok=True)
    for made in (home.parent, home):
        made.chmod(0o711)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(home)
    _say(f"the data is in {home}, because the servers' user may not enter {existing}; {data_dir} leads there")


def _introduce(installation: Installation, took_s: float) -> None:
    data_dir = installation.settings.data_dir
    kept = f"shown once, kept in {data_dir / 'founder-key'}" if installation.founder_key_is_new else "as before"
    shown = installation.founder_key if installation.founder_key_is_new else f"in {data_dir / 'founder-key'}"
    print(
        f"\nFelix is ready after {took_s:.1f} s. Ctrl-C stops it.\n\n"
        f"  API          {installation.url}\n"
        f"  Reference    {installation.url}/openapi.json\n"
        f"  Founder key  {shown} ({kept})\n"
        f"  Logs         {data_dir / 'logs'}\n\n"
        f"  curl -s {installation.url}/readyz\n",
        flush=True,
    )


def _show_demo(installation: Installation) -> None:
    from felix.cli.demo import seed, show

    clients = seed(installation.settings, installation.endpoints, _say)
    # What is printed has to work when it is pasted: the read models may have to catch up first.
    deadline = time.monotonic() + CATCH_UP_PATIENCE_S
    last = clients[-1]
    while not installation.stop_requested and time.monotonic() < deadline:
        if installation.ask(f"/v1/token-accounts/{last.account_id}", key=last.key)[0] == 200:
            break
        time.sleep(0.05)
    show(clients, installation.url)
    sys.stdout.flush()  # a file or a pipe would otherwise see it at the end only
    installation.add_child("demo", "felix.cli.demo_traffic", "--url", installation.url)
