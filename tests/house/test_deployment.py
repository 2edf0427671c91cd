"""The files that run Felix elsewhere: systemd units, the container, the workflows. What they name has to be there."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "ops" / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
INSTALLED = "/opt/felix/bin/"

# Units.


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return unit


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_careful(path: Path) -> None:
    service = read_unit(path)["Service"]
    assert service["User"] == "felix" and service["NoNewPrivileges"] == "yes" and service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict" and service["StateDirectory"] == "felix" and service["UMask"] == "0077"
    command, *arguments = service["ExecStart"].split()
    assert command.startswith(INSTALLED)
    if command == f"{INSTALLED}felix":
        done = subprocess.run(
            [sys.executable, "-c", "from felix.cli import main; main()", *arguments, "--help"], capture_output=True
        )
    else:
        assert arguments[0] == "-m"
        done = subprocess.run(
            [sys.executable, "-c", f"import importlib.util as u; assert u.find_spec({arguments[1]!r})"]
        )
    assert done.returncode == 0, "what it starts is not there"


@pytest.mark.parametrize(
    "path", [unit for unit in SERVICES if "Restart=" in unit.read_text()], ids=lambda path: path.name
)
def test_what_runs_all_the_time_is_stopped_in_order_and_comes_back(path: Path) -> None:
    service = read_unit(path)["Service"]
    # dramatiq and the supervisor both take a SIGTERM to the whole group for a second one, which kills.
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) >= 20 and service["Restart"] in ("on-failure", "always")
    assert read_unit(path)["Install"]["WantedBy"] == "multi-user.target"


def verify(directory: Path, *names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", *(str(directory / name) for name in names)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With systemd's own judgement where there is one; the two tests above have looked at the essentials anyway."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: only the essentials were checked")
    commands = {f"{INSTALLED}felix": shutil.which("true"), f"{INSTALLED}python": sys.executable}
    for unit in UNITS:
        text = unit.read_text()
        for installed, here in commands.items():
            text = text.replace(installed, str(here))
        (tmp_path / unit.name.replace("@", "@8081")).write_text(text)
        (tmp_path / unit.name).write_text(text)
    names = [unit.name.replace("@", "@8081") for unit in UNITS]
    done = verify(tmp_path, *names)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr

    broken = tmp_path / "felix.service"
    broken.write_text(broken.read_text().replace("KillMode=mixed", "KillMode=sometimes"))
    assert "sometimes" in verify(tmp_path, "felix.service").stderr, "the control was not caught"


# The container.


def instructions(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


CONTAINER = instructions((ROOT / "Containerfile").read_text())


def of(keyword: str) -> list[str]:
    return [rest for word, rest in CONTAINER if word == keyword]


def test_the_container_is_built_from_what_is_there() -> None:
    """No engine is needed: this looks at the instructions, the paths that they name and what they start."""
    known = r"FROM|RUN|WORKDIR|COPY|ENV|USER|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD"
    assert all(re.fullmatch(known, word) for word, _ in CONTAINER)
    assert [image.split()[0] for image in of("FROM")] == ["python:3.13-slim"] * 2, "the official image, no other host"
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".containerignore").read_text(), re.M)
    for copied in of("COPY"):
        if not copied.startswith("--from="):
            for source in copied.split()[:-1]:
                assert (ROOT / source).exists() and source in let_in, source
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert packaged["project"]["readme"] in let_in
    (extra,) = re.findall(r"--extra (\S+)", " ".join(of("RUN")))
    assert extra in packaged["project"]["optional-dependencies"]


def test_the_container_runs_felix_as_an_ordinary_user_on_its_volume() -> None:
    assert of("ENTRYPOINT") == ['["felix"]'] and of("CMD") == ['["up"]']
    assert "felix" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert of("USER")[-1].isdigit() and int(of("USER")[-1]) > 0
    (volume,) = of("VOLUME")
    assert f"FELIX_DATA_DIR={volume}/" in of("ENV")[-1]
    (check,) = of("HEALTHCHECK")
    script = re.search(r'CMD \["python", "-c", "(.*)"\]$', check)
    assert script is not None and "/readyz" in script[1]
    compile(script[1], "HEALTHCHECK", "exec")


def test_an_image_that_is_deployed_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """With an engine that only writes down what it is told, and once is never ready."""
    engine, told = tmp_path / "engine", tmp_path / "told"
    engine.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    engine.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "deploy", f"ENGINE={engine}", "IMAGE=felix:v1"], cwd=ROOT, env=kept, capture_output=True, text=True
    )
    assert done.returncode == 0 and "felix:v1 is ready" in done.stdout, done.stderr
    verbs = [line.split()[0] for line in told.read_text().splitlines()]
    assert verbs == ["build", "stop", "rm", "run", "exec"]
    ran = told.read_text().splitlines()[3]
    assert "--read-only" in ran and "--volume felix:/var/lib/felix" in ran and ran.endswith("felix:v1")


# The workflows.


def jobs_of(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return jobs


def strange_steps(jobs: dict[str, Any]) -> list[str]:
    """Steps that do anything else than check out, choose a Python and make a target that exists."""
    strange = []
    for job in jobs.values():
        for step in job["steps"]:
            target = re.fullmatch(r"make ([a-z-]+)", step.get("run", ""))
            action = step.get("uses", "").partition("@")[0]
            if not (target and target[1] in TARGETS) and action not in ("actions/checkout", "actions/setup-python"):
                strange.append(str(step))
    return strange


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_only_makes_targets_that_exist(path: Path) -> None:
    assert strange_steps(jobs_of(path)) == []
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 360 for job in jobs_of(path).values())


@pytest.mark.parametrize("step", [{"run": "make coffee"}, {"run": "pip install felix"}, {"uses": "someone/thing@v1"}])
def test_another_step_would_be_found(step: dict[str, str]) -> None:
    assert strange_steps({"job": {"steps": [{"run": "make lint"}, step]}}) == [str(step)]


def test_the_workflows_do_what_has_to_hold_before_a_change_lands() -> None:
    made = [
        step["run"] for path in WORKFLOWS for job in jobs_of(path).values() for step in job["steps"] if "run" in step
    ]
    in_script = re.findall(r"^make [a-z-]+$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert {*in_script, "make test-deep", "make container", "make deploy"} <= set(made)
    test = jobs_of(ROOT / ".github" / "workflows" / "checks.yml")["test"]
    assert test["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
