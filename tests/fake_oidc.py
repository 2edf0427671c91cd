"""An OpenID provider of our own, with real keys over real HTTP: strict, and wrong where a test says so."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from local_server import Asked, LocalServer, Told

CLIENT_ID, CLIENT_SECRET = "felix", "s3cret & more"
#: Keys take a while to make, and every provider of a test run may have the same.
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Key:
    """A key that ID tokens are signed with."""

    kid: str
    algorithm: str = "RS256"
    private: Any = field(default_factory=lambda: _RSA)

    @classmethod
    def new(cls, kid: str, algorithm: str) -> Key:
        made: dict[str, Callable[[], Any]] = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        return cls(kid, algorithm, made[algorithm]())

    @property
    def public(self) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        told: dict[str, Any] = json.loads(algorithm.to_jwk(self.private.public_key()))
        return told | {"kid": self.kid, "use": "sig", "alg": self.algorithm}


@dataclass
class Grant:
    """A code that was given out, and to whom."""

    asked: dict[str, str]
    person: dict[str, Any]


class FakeOidc(LocalServer):
    """One provider with one client. ``spoil`` changes what is in ID tokens, ``sign`` how they are signed."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = [Key("one")]
        self.person: dict[str, Any] = {"sub": "248289761001", "email": "ada@example.com", "email_verified": True}
        self.grants: dict[str, Grant] = {}
        self.redirect_uri = "http://127.0.0.1:8080/v1/oidc/callback"
        self.described: dict[str, Any] = {}
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.sign: Callable[[dict[str, Any]], Any] = self.signed
        #: By path: what is answered in place of the truth.
        self.instead: dict[str, Callable[[Asked], Told]] = {}

    @property
    def issuer(self) -> str:
        return self.url

    def signed(self, claims: dict[str, Any], key: Key | None = None, **header: Any) -> str:
        """An ID token."""
        key = key or self.keys[0]
        return jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.kid, **header})

    def visit(self, authorization_url: str) -> dict[str, str]:
        """What a browser comes back with after its person has signed in here."""
        split = urlsplit(authorization_url)
        asked = {name: values[0] for name, values in parse_qs(split.query).items()}
        assert f"{split.scheme}://{split.netloc}{split.path}" == f"{self.url}/authorize"
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT_ID
        assert asked["redirect_uri"] == self.redirect_uri
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.grants[code] = Grant(asked, dict(self.person))
        return {"code": code, "state": asked["state"]}

    def answer(self, asked: Asked) -> Told:
        if asked.path in self.instead:
            return self.instead[asked.path](asked)
        match asked.method, asked.path:
            case "GET", "/.well-known/openid-configuration":
                return Told(200, self._description() | self.described)
            case "GET", "/keys":
                return Told(200, {"keys": [key.public for key in self.keys]})
            case "POST", "/token":
                return self._token(asked)
        return Told(404, {})

    def _description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }

    def _token(self, asked: Asked) -> Told:
        pair = f"{quote(CLIENT_ID, safe='')}:{quote(CLIENT_SECRET, safe='')}"
        if asked.headers.get("authorization") != "Basic " + base64.b64encode(pair.encode()).decode():
            return Told(401, {"error": "invalid_client"})
        form = asked.form
        grant = self.grants.pop(form.get("code", ""), None)
        if grant is None or form.get("grant_type") != "authorization_code":
            return Told(400, {"error": "invalid_grant"})
        digest = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if digest != grant.asked["code_challenge"] or form["redirect_uri"] != grant.asked["redirect_uri"]:
            return Told(400, {"error": "invalid_grant"})
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": grant.asked["nonce"]}
        token = self.sign(self.spoil(claims | grant.person))
        return Told(200, {"access_token": "unused", "token_type": "Bearer", "id_token": token})


@contextmanager
def running_oidc() -> Iterator[FakeOidc]:
    """A provider that listens."""
    with FakeOidc().running() as provider:
        yield provider
