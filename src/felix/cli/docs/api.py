"""``docs/api.md``: every endpoint, told from the OpenAPI document that a running Felix serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from felix.api.app import DESCRIPTION, create_app
from felix.cli.docs.catalogue import GENERATED
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.roles import ROLES

#: Headers that every write or every read takes, told once at the top.
_COMMON = ("Idempotency-Key", "Felix-Tenant", "Felix-Min-Position")


def page() -> str:
    """The endpoints by the noun they are about."""
    document = create_app(lambda app: None).openapi()  # type: ignore[arg-type,return-value]
    nouns: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    common: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            nouns.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
            common |= {each["name"]: each for each in operation.get("parameters", []) if each["name"] in _COMMON}
            for status, answer in _problems(operation):
                problems.setdefault(status, answer["description"])
    lines = [
        "# API",
        "",
        GENERATED,
        "",
        DESCRIPTION,
        "",
        "A request carries `Authorization: Bearer <key>`. The same as an OpenAPI 3.1 document, for programs:",
        "`/openapi.json` of a running Felix. What the error codes mean: [errors.md](errors.md).",
        "",
        "| header | what it does |",
        "|---|---|",
        *(f"| `{name}` | {_cell(common[name].get('description', ''))} |" for name in _COMMON if name in common),
        "",
        "| status | what is the case |",
        "|---|---|",
        *(f"| {status} | {_cell(told)} |" for status, told in sorted(problems.items())),
        "",
        "| endpoint | what it does |",
        "|---|---|",
    ]
    for operations in nouns.values():
        lines += [
            f"| [`{m} {path}`](#{told['operationId']}) | {_cell(told['summary'])} |" for m, path, told in operations
        ]
    for noun, operations in nouns.items():
        lines += ["", f"## {noun[0].upper()}{noun[1:]}"]
        for method, path, operation in operations:
            lines += ["", f"### {operation['operationId']}", "", f"`{method} {path}`", "", *_endpoint(operation)]
    return "\n".join(lines) + "\n"


def _endpoint(operation: dict[str, Any]) -> Iterator[str]:
    yield (operation.get("description") or operation["summary"]).replace("``", "`")
    yield from ("", _who(operation["x-felix-action"]))
    parameters = [each for each in operation.get("parameters", []) if each["name"] not in _COMMON]
    if parameters:
        yield from ("", "| parameter | in | type | meaning |", "|---|---|---|---|")
        for each in parameters:
            schema = each["schema"]
            meaning = each.get("description") or (f"`{schema['pattern']}`" if "pattern" in schema else "")
            yield f"| `{each['name']}` | {each['in']} | {schema.get('type', 'any')} | {_cell(meaning)} |"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from ("", f"Asked ({kind}):", "", *_example(content))
    for status, answer in operation["responses"].items():
        for kind, content in answer.get("content", {}).items() if status.startswith("2") else ():
            yield from ("", f"Answered with {status} ({kind}):", "", *_example(content))
    if problems := [status for status, _ in _problems(operation)]:
        yield from ("", f"Problems: {', '.join(problems)}.")


def _who(name: str) -> str:
    action = ACTIONS[name]
    grants = ((role, action.needs(role)) for role in ROLES)
    told = [role + (f" ({needs})" if needs != "yes" else "") for role, needs in grants if needs]
    return f"[`{name}`](access.md): {'anybody' if action.place == 'door' else ', '.join(told)}."


def _problems(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(status, answer) for status, answer in operation["responses"].items() if not status.startswith("2")]


def _example(content: dict[str, Any]) -> Iterator[str]:
    if isinstance(example := content.get("example"), str):
        yield from ("```text", *example.rstrip("\n").splitlines(), "```")
    else:
        yield from ("```json", *json.dumps(example, indent=2, ensure_ascii=False).splitlines(), "```")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
