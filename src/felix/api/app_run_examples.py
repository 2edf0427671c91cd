"""What the endpoints of an app's history and reports answer, for the document and for the tests that compare it."""

from __future__ import annotations

from typing import Any

_RELEASE = "5f3c0a1d9b7e24688ac1d2e3f40516273849a0b1c2d3e4f5061728394a5b6c7d"

RUNS: dict[str, Any] = {
    "data": [
        {
            "tenant_sequence": 41,
            "kind": "automation",
            "name": "thank",
            "outcome": "ran",
            "at": "2026-01-31T12:00:00.000000Z",
            "release": _RELEASE,
            "record_id": "rec_0192f0000000700080000000000000a1",
            "record_version": 2,
            "deployment_id": None,
            "effects": ["8d4b4d2e31f55a529a553d8f0c1f9b10"],
            "records": [],
            "charged_mtok": 20,
            "failure": None,
            "detail": None,
        }
    ],
    "next": None,
    "waiting": [
        {"state": "due", "deployment_id": None, "effects": 1, "since": "2026-01-31T12:00:00.000000Z"},
    ],
}

REPORT: dict[str, Any] = {
    "title": "Won deals",
    "columns": [
        {"label": "Closes on (month)", "kind": "group", "type": "text"},
        {"label": "Count", "kind": "measure", "type": "integer"},
        {"label": "Sum of Value", "kind": "measure", "type": "money"},
    ],
    "rows": [["2026-01-01", 3, 120_000]],
}
