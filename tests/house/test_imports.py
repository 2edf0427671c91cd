"""What the domain may import: an allow-list, which import-linter's contracts can't say."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[2] / "src" / "felix" / "domain"
#: pydantic_core is the part of pydantic that checks values; apps are compiled for it without a class an entity.
ALLOWED = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "eventsourcing"}


def foreign_imports(source: str) -> set[str]:
    """The modules that a domain file imports and may not."""
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "" if not node.level else f"felix.domain.{node.module}")
    return {
        name for name in named if name.partition(".")[0] not in ALLOWED and not f"{name}.".startswith("felix.domain.")
    }


@pytest.mark.parametrize("path", sorted(DOMAIN.rglob("*.py")), ids=lambda path: str(path.relative_to(DOMAIN)))
def test_the_domain_imports_the_standard_library_pydantic_and_eventsourcing(path: Path) -> None:
    assert foreign_imports(path.read_text()) == set()


def test_a_foreign_import_would_be_found() -> None:
    source = "import orjson\nfrom felix.eventstore import rows\nfrom felix.domain.base import Command\nimport struct"
    assert foreign_imports(source) == {"orjson", "felix.eventstore"}
