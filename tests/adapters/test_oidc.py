"""Whatever an OpenID provider says, somebody is let in only by an ID token that is right in every part."""

from __future__ import annotations

import base64
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fake_oidc import CLIENT_ID, CLIENT_SECRET, FakeOidc, Key, running_oidc
from hypothesis import given, settings
from hypothesis import strategies as st
from local_server import Told

from felix.adapters import oidc as adapter
from felix.adapters.oidc import OidcProvider, ProviderBusy, ProviderNotUsable
from felix.adapters.outbound import NotReachable, Outbound
from felix.application.oidc import Identity, OidcRefused
from felix.domain.errors import Unauthenticated, Unavailable

WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


class Door:
    """A provider, and Felix in front of it."""

    def __init__(self, provider: FakeOidc, timeout_s: float = 5.0) -> None:
        self.provider = provider
        self.at = 0.0
        self.felix = OidcProvider(
            provider.issuer, CLIENT_ID, CLIENT_SECRET, provider.redirect_uri,
            outbound=Outbound("The OpenID provider", timeout_s=timeout_s, max_answer_bytes=64 * 1024),
            monotonic=lambda: time.monotonic() + self.at,
        )  # fmt: skip

    def sign_in(self) -> Identity:
        challenge = self.felix.challenge()
        came_back = self.provider.visit(challenge.url)
        assert came_back["state"] == challenge.state
        return self.felix.redeem(came_back["code"], challenge.verifier, challenge.nonce)

    def asked(self, path: str) -> int:
        return sum(asked.path == path for asked in self.provider.asked)


@pytest.fixture
def door() -> Iterator[Door]:
    with running_oidc() as provider:
        made = Door(provider)
        yield made
        made.felix.close()


def test_who_the_provider_knows_comes_in(door: Door) -> None:
    identity = door.sign_in()
    assert (identity.issuer, identity.subject, identity.email) == (
        door.provider.issuer,
        "248289761001",
        "ada@example.com",
    )
    assert "ada" not in repr(identity) and "248289761001" not in repr(identity)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_tokens_are_signed_with_public_key_algorithms(door: Door, algorithm: str) -> None:
    door.provider.keys = [Key.new("a", algorithm)]
    assert door.sign_in().email == "ada@example.com"


def test_every_sign_in_has_secrets_of_its_own(door: Door) -> None:
    first, second = door.felix.challenge(), door.felix.challenge()
    for name in ("state", "nonce", "verifier"):
        assert getattr(first, name) != getattr(second, name) and len(getattr(first, name)) >= 43
    asked = parse_qs(urlsplit(first.url).query)
    assert first.verifier not in first.url and asked["code_challenge_method"] == ["S256"]
    came_back = door.provider.visit(first.url)
    with pytest.raises(OidcRefused):
        door.felix.redeem(came_back["code"], second.verifier, first.nonce)
    came_back = door.provider.visit(first.url)
    with pytest.raises(OidcRefused):
        door.felix.redeem(came_back["code"], first.verifier, second.nonce)


def test_a_code_is_good_once(door: Door) -> None:
    challenge = door.felix.challenge()
    came_back = door.provider.visit(challenge.url)
    door.felix.redeem(came_back["code"], challenge.verifier, challenge.nonce)
    with pytest.raises(OidcRefused):
        door.felix.redeem(came_back["code"], challenge.verifier, challenge.nonce)


NOW = int(time.time())
WRONG_CLAIMS: list[dict[str, Any]] = [
    {"nonce": "another"}, {"nonce": None}, {"nonce": 7}, {"nonce": "\ud800"},
    {"aud": "somebody-else"}, {"aud": []}, {"aud": None}, {"aud": [CLIENT_ID, "somebody-else"]},
    {"aud": [CLIENT_ID, "x"], "azp": "x"}, {"azp": "somebody-else"}, {"azp": ["felix"]},
    {"iss": "https://evil.example"}, {"iss": None}, {"iss": ""},
    {"exp": NOW - 120}, {"exp": "soon"}, {"exp": None}, {"exp": 10**30}, {"exp": True}, {"exp": -1},
    {"iat": NOW + 600}, {"iat": NOW - 7200}, {"iat": "now"}, {"iat": None}, {"nbf": NOW + 600}, {"nbf": []},
    {"sub": ""}, {"sub": None}, {"sub": 17}, {"sub": "x" * 256}, {"sub": "a\nb"}, {"sub": {}},
    {"email": None}, {"email": "nobody"}, {"email": ["ada@example.com"]}, {"email": "a@" + "x" * 400},
    {"email": "ada@example.com\x00"},
    {"email_verified": False}, {"email_verified": None}, {"email_verified": "false"}, {"email_verified": 1.5},
    {"email_verified": "yes"}, {"email_verified": [True]},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_CLAIMS, ids=str)
def test_a_token_that_is_wrong_in_one_part_lets_nobody_in(door: Door, wrong: dict[str, Any]) -> None:
    door.provider.sign = lambda claims: _signed_raw(door, claims | wrong)
    with pytest.raises(OidcRefused):
        door.sign_in()


def _signed_raw(door: Door, claims: dict[str, Any]) -> str:
    """Signed as it is: the library would refuse some of what a provider may send."""
    key = door.provider.keys[0]
    return jwt.api_jws.encode(json.dumps(claims).encode(), key.private, key.algorithm, headers={"kid": key.kid})


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "nonce", "email", "email_verified"])
def test_a_token_without_a_part_lets_nobody_in(door: Door, claim: str) -> None:
    door.provider.spoil = lambda claims: {name: value for name, value in claims.items() if name != claim}
    with pytest.raises(OidcRefused):
        door.sign_in()


def _unsigned(claims: dict[str, Any], alg: str = "none") -> str:
    parts = ({"alg": alg, "kid": "one"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def test_tokens_that_anybody_could_have_signed_let_nobody_in(door: Door) -> None:
    public = door.provider.keys[0].private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = Key.new("one", "RS256")
    right = door.provider.signed

    def with_public_key_as_secret(claims: dict[str, Any]) -> str:
        head, body, _ = right(claims).split(".")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
        mac = hmac.digest(public, f"{head}.{body}".encode(), "sha256")
        return f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    ways: list[Any] = [
        _unsigned,
        lambda claims: _unsigned(claims, "None"),
        lambda claims: _unsigned(claims, "RS256"),
        with_public_key_as_secret,
        lambda claims: jwt.encode(claims, CLIENT_SECRET * 4, "HS256", headers={"kid": "one"}),
        lambda claims: right(claims, stranger),
        lambda claims: right(claims, Key("two")),
        lambda claims: right(claims)[:-4] + "AAAA",
        lambda claims: right(claims).replace(".", "", 1),
        lambda claims: "x" * 20_000,
        lambda claims: "",
        lambda claims: None,
        lambda claims: 17,
        lambda claims: {"a": 1},
        lambda claims: "ä.ö.ü",
        lambda claims: jwt.encode(claims, door.provider.keys[0].private, "RS384", headers={"kid": "one"}),
        lambda claims: jwt.encode(claims, door.provider.keys[0].private, "PS256", headers={"kid": "one"}),
    ]
    for way in ways:
        door.provider.sign = way
        with pytest.raises(OidcRefused):
            door.sign_in()
    # What a token says of its own key means nothing; this one is signed as it has to be.
    door.provider.sign = lambda claims: right(claims, jwk=stranger.public, jku="https://evil.example/keys")
    assert door.sign_in()


def test_a_new_key_is_found_at_once_and_made_up_ones_are_not_asked_for_all_the_time(door: Door) -> None:
    door.sign_in()
    door.provider.keys = [Key.new("two", "ES256"), *door.provider.keys]
    assert door.sign_in() and door.asked("/keys") == 2
    right = door.provider.signed
    door.provider.sign = lambda claims: right(claims, Key("made-up"))
    for _ in range(5):
        with pytest.raises(OidcRefused):
            door.sign_in()
    assert door.asked("/keys") == 2
    door.at += adapter.ASK_AGAIN_AFTER_S
    with pytest.raises(OidcRefused):
        door.sign_in()
    assert door.asked("/keys") == 3


def test_discovery_and_keys_are_asked_for_once_an_hour(door: Door) -> None:
    for _ in range(3):
        door.sign_in()
    assert (door.asked("/keys"), door.asked("/.well-known/openid-configuration")) == (1, 1)
    door.at += adapter.KEPT_FOR_S + 1
    door.sign_in()
    assert (door.asked("/keys"), door.asked("/.well-known/openid-configuration")) == (2, 2)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_keys_that_are_no_good_are_passed_over(door: Door) -> None:
    weak = Key("one", "RS256", WEAK)
    junk: list[Any] = [
        None,
        7,
        {},
        {"kty": "RSA"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
        {"kty": "EC", "crv": "x"},
    ]
    good = Key("good")
    door.provider.instead["/keys"] = lambda asked: Told(200, {"keys": [*junk, weak.public, good.public]})
    door.provider.keys = [good]
    assert door.sign_in()
    door.provider.keys = [weak]
    with pytest.raises(OidcRefused):
        door.sign_in()


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "http://10.0.0.1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": ["x"]},
        {"jwks_uri": "https://user:pw@evil.example/"},
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_used(door: Door, described: dict[str, Any]) -> None:
    door.provider.described = described
    with pytest.raises(ProviderNotUsable):
        door.felix.challenge()
    door.provider.described = {}
    assert door.sign_in(), "and is asked again"


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize("fault", ["fails", "hangs_up", "babbles", "floods", "leads", "lists", "empties"])
def test_a_provider_that_breaks_anywhere_lets_nobody_in_and_recovers(door: Door, path: str, fault: str) -> None:
    ways: dict[str, Any] = {
        "leads": door.provider.leads_to("http://169.254.169.254/"),
        "lists": lambda asked: Told(200, []),
        "empties": lambda asked: Told(200, {}),
    }
    door.provider.instead[path] = ways.get(fault) or getattr(door.provider, fault)
    with pytest.raises((OidcRefused, Unavailable)):
        door.sign_in()
    del door.provider.instead[path]
    door.at += adapter.KEPT_FOR_S + 1
    assert door.sign_in()


def test_a_provider_that_hangs_is_given_up_and_keeps_few_waiting() -> None:
    with running_oidc() as provider:
        door = Door(provider, timeout_s=0.5)
        challenge = door.felix.challenge()
        provider.instead["/token"] = provider.hangs
        ended: list[type] = []

        def redeem() -> None:
            try:
                door.felix.redeem("code", challenge.verifier, challenge.nonce)
            except Unavailable as error:
                ended.append(type(error))

        threads = [threading.Thread(target=redeem) for _ in range(adapter.AT_A_TIME + 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended.count(ProviderBusy) == 3 and ended.count(NotReachable) == adapter.AT_A_TIME
        del provider.instead["/token"]
        provider.let_go()
        assert door.sign_in()
        door.felix.close()


# --- fuzz ---------------------------------------------------------------------------------------------------

FUZZED = 20_000 if os.environ.get("FELIX_TEST_PROFILE") == "deep" else 300
_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nonce", "nbf", "azp", "email", "email_verified", "name"])


@settings(max_examples=FUZZED)
@given(
    changed=st.dictionaries(_names, _anything, min_size=1, max_size=4),
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x"]), _anything, max_size=2),
    torn=st.integers(0, 200),
)
def test_no_token_is_more_than_refused(changed: dict[str, Any], header: dict[str, Any], torn: int) -> None:
    felix, nonce, right = _fuzzed()
    claims = right | changed
    head = {"alg": "RS256", "kid": "one"} | header
    parts = [json.dumps(part, default=repr).encode() for part in (head, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    signature = jwt.get_algorithm_by_name("RS256").sign(".".join(encoded).encode(), Key("one").private)
    token = ".".join([*encoded, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])
    token = token[:-torn] if torn > 150 else token
    felix._id_token = lambda code, verifier: token  # type: ignore[method-assign]
    try:
        identity = felix.redeem("code", "verifier", nonce)
    except Unauthenticated:
        return
    assert (identity.issuer, isinstance(identity.subject, str)) == ("https://op.example", True)
    assert claims["email_verified"] in (True, "true") and claims["nonce"] == nonce


@cache
def _fuzzed() -> tuple[OidcProvider, str, dict[str, Any]]:
    felix = OidcProvider("https://op.example", CLIENT_ID, None, "https://felix.example/cb")
    felix._endpoints = (time.monotonic(), adapter._Endpoints("x", "x", "x"))
    felix._keys = (time.monotonic(), adapter._usable([Key("one").public]))
    felix._asked_again_at = float("inf")
    felix.close()
    now = int(time.time())
    right = {
        "iss": "https://op.example", "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": "n", "sub": "1",
        "email": "ada@example.com", "email_verified": True,
    }  # fmt: skip
    return felix, "n", right


def test_the_fuzzed_door_lets_the_right_token_in() -> None:
    felix, nonce, right = _fuzzed()
    felix._id_token = lambda code, verifier: jwt.encode(right, Key("one").private, "RS256", {"kid": "one"})  # type: ignore[method-assign]
    assert felix.redeem("code", "verifier", nonce).subject == "1"
