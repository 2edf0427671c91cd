"""A process of the API in which somebody accepts an invitation: ``accepting.py TOKEN``, settings in the environment."""

from __future__ import annotations

import sys

from starlette.testclient import TestClient

from felix.asgi import app

if __name__ == "__main__":
    with TestClient(app) as client:
        asked = {"token": sys.argv[1], "name": "Ada", "password": "a lighthouse keeps seven promises"}
        answered = client.post("/v1/invitations/accept", json=asked)
        print(answered.status_code, answered.text, flush=True)
