"""Object storage keeps what it is given, under the digest of it, in a directory and in S3."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from felix.adapters.objects import ObjectBroken, Objects, ObjectsAway
from felix.domain.errors import NotFound


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a local S3 with one bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    assert httpx.put(f"{url}/felix", trust_env=False).status_code == 200
    yield url
    server.stop()


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return Objects.open(tmp_path / "objects")
    return Objects(
        S3Store(
            "felix",
            prefix=tmp_path.name,
            endpoint=request.getfixturevalue("s3"),
            access_key_id="a",
            secret_access_key="b",
            region="us-east-1",
            client_options={"allow_http": True},
        )
    )


def test_what_was_put_is_there_under_its_digest(objects: Objects) -> None:
    digest = objects.put("releases", b"bread")
    assert digest == sha256(b"bread").hexdigest() and objects.get("releases", digest) == b"bread"
    assert objects.put("releases", b"bread") == digest
    with pytest.raises(NotFound):
        objects.get("transcripts", digest)
    objects.remove("releases", digest)
    objects.remove("releases", digest)
    with pytest.raises(NotFound):
        objects.get("releases", digest)


@pytest.mark.parametrize(("kind", "digest"), [("../x", "0" * 64), ("releases", "../../etc/passwd"), ("releases", "")])
def test_no_place_leads_out_of_the_store(objects: Objects, kind: str, digest: str) -> None:
    with pytest.raises(NotFound):
        objects.get(kind, digest)


def test_an_object_that_was_changed_is_never_given_out(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    digest = objects.put("releases", b"bread")
    (stored,) = tmp_path.rglob(digest)
    stored.chmod(0o600)
    stored.write_bytes(b"stones")
    with pytest.raises(ObjectBroken):
        objects.get("releases", digest)
    with pytest.raises(ObjectBroken):
        objects.put("releases", b"bread")


def test_a_store_that_is_away_says_so() -> None:
    away = S3Store(
        "felix", endpoint="http://127.0.0.1:1", access_key_id="a", secret_access_key="b", region="us-east-1",
        client_options={"allow_http": True}, retry_config={"max_retries": 0},
    )  # fmt: skip
    with pytest.raises(ObjectsAway):
        Objects(away).put("releases", b"bread")
