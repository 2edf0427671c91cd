"""Whether the processes live, the port is Felix's, and the API says that it is ready."""

from __future__ import annotations

import errno
import http.client
import json
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from felix.cli.doctoring.examination import Examination, command_of, is_stopped, runs_felix
from felix.cli.doctoring.findings import Findings, ok, problem, warning
from felix.embedded.processes import is_alive, processes_in

ASK_TIMEOUT_S = 3.0
_LISTENING = "0A"


def processes(examination: Examination) -> Findings:
    """What `felix up` started is alive and not frozen, and nothing outlives it."""
    supervisor = examination.supervisor
    children = {name: pid for name, pid in examination.processes.items() if name != "supervisor"}
    alive = {name: pid for name, pid in children.items() if is_alive(pid) and runs_felix(pid)}
    if supervisor is None:
        servers = _servers(examination)
        for name, pid in (alive | servers).items():
            yield warning(
                f"{name} ({pid}) runs, and the `felix up` that started it does not.",
                "It was killed. Its API and worker end by themselves; Postgres and Valkey wait to be adopted.",
                f"felix up (adopts it), or kill -INT {pid}",
            )
        if not alive and not servers:
            managed = examination.embedded_database or examination.embedded_valkey
            yield ok("no `felix up` runs here" + (", so nothing is served" if managed else ""))
        return
    log = examination.data_dir / "logs"
    for name in sorted(children.keys() - alive.keys()):
        yield problem(
            f"The process {name} ({children[name]}) is gone.",
            "`felix up` starts it again; when it keeps dying, it says why in its log."
            + (" Meanwhile read models stand still; nothing is lost." if name == "worker" else ""),
            f"tail -n 30 {log / f'felix-{name}.log'}",
        )
    running = {"felix up": supervisor, **alive, **_servers(examination)}
    frozen = {name: pid for name, pid in running.items() if is_stopped(pid)}
    for name, pid in frozen.items():
        yield problem(
            f"{name} ({pid}) is stopped (state T).",
            "Somebody sent SIGSTOP, or a debugger holds it. What it works on waits; nothing is lost.",
            f"kill -CONT {pid}",
        )
    if len(alive) == len(children) and not frozen:
        yield ok(", ".join(f"{name} {pid}" for name, pid in running.items()))


def port(examination: Examination) -> Findings:
    """The API's port is free, or Felix has it."""
    host, wanted = examination.settings.host, examination.settings.port
    if examination.supervisor is not None:
        yield ok(f"the API listens at {examination.recorded.get('url', 'its address')}")
        return
    if wanted == 0:
        yield ok("any free one will be taken")
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        yield from _explain_port(host, wanted, error)
    else:
        yield ok(f"{host} port {wanted} is free")


def _explain_port(host: str, wanted: int, error: OSError) -> Findings:
    holders = listeners(wanted)
    mine = [pid for pid in holders if runs_felix(pid)]
    if error.errno == errno.EADDRINUSE and mine:
        yield ok(f"port {wanted} is served by {command_of(mine[0])} ({mine[0]})")
    elif error.errno == errno.EADDRINUSE:
        told = ", ".join(f"{command_of(pid) or 'a process'} (pid {pid})" for pid in holders)
        yield problem(
            f"Port {wanted} on {host} is taken by {told or 'a process that you may not see (look as root)'}.",
            "`felix up` can't start.",
            f"export FELIX_PORT={wanted + 1}" + (f", or stop the other one: kill {holders[0]}" if holders else ""),
        )
    elif error.errno in (errno.EACCES, errno.EPERM):
        yield problem(
            f"You may not listen on port {wanted}.", "Ports below 1024 are for root.", "export FELIX_PORT=8080"
        )
    else:
        yield problem(
            f"Felix can't listen on {host}: {error.strerror}.",
            "No interface of this machine has that address.",
            "export FELIX_HOST=127.0.0.1",
        )


def api(examination: Examination) -> Findings:
    """The API answers, and is ready."""
    url = examination.recorded.get("url")
    if examination.supervisor is None or not isinstance(url, str):
        yield ok("it is not served from here")
        return
    asked = urlsplit(url)
    connection = http.client.HTTPConnection(asked.hostname or "", asked.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        checks = json.loads(answer.read(100_000)).get("checks", [])
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield problem(
            f"{url}/readyz does not answer: {error}.",
            "Clients wait, or are refused.",
            f"tail -n 30 {examination.data_dir / 'logs'}/felix-api*.log",
        )
        return
    finally:
        connection.close()
    if answer.status == 200:
        yield ok(f"{url} is ready")
    else:
        reasons = "; ".join(f"{each['name']}: {each['detail']}" for each in checks if not each["ok"])
        yield problem(
            f"{url} is not ready: {reasons}.", "A load balancer sends it no requests.", f"curl -s {url}/readyz"
        )


def listeners(port: int) -> list[int]:
    """The processes that listen on a TCP port, as far as the kernel lets this user see them."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{columns[9]}]")
    found = []
    for entry in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):
            if any(str(handle.readlink()) in sockets for handle in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return sorted(found)


def _servers(examination: Examination) -> dict[str, int]:
    """The embedded servers that run in this directory."""
    place, found = examination.data_dir, {}
    if examination.embedded_database:
        with suppress(OSError, ValueError, IndexError):
            pid = int((place / "pgdata" / "postmaster.pid").read_text().split()[0])
            if pid in processes_in(place / "pgdata", "postgres"):
                found["postgres"] = pid
    if examination.embedded_valkey and (servers := processes_in(place / "valkey", "valkey-server")):
        found["valkey"] = servers[0]
    return found
