"""An OpenID provider: authorisation code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC 9700).

Discovery and keys are fetched, checked and kept for a while. Of an ID token everything is checked that the standard
asks for, with algorithms that need a public key and no others: neither ``none`` nor a secret that is the same for all.
"""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from felix.adapters.outbound import AddressNotSafe, AnswerNotReadable, Outbound, check_address
from felix.application.oidc import Challenge, Identity, OidcRefused
from felix.domain.errors import Unavailable

log = logging.getLogger("felix.oidc")

#: By the kind of key that each needs.
ALGORITHMS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
SCOPE = "openid email profile"
#: How long discovery and keys are believed.
KEPT_FOR_S = 3600.0
#: A token names a key that is not known: then the provider may have new ones. Anybody can make up names of keys.
ASK_AGAIN_AFTER_S = 30.0
#: The two clocks may differ by this much.
LEEWAY_S = 60
#: A token that was made longer ago than this was not made for this sign-in.
MAX_AGE_S = 600
MAX_TOKEN_LENGTH = 16 * 1024
MAX_KEYS = 64
#: Requests to the provider at the same time.
AT_A_TIME = 8
MIN_RSA_BITS = 2048
MAX_SUBJECT_LENGTH = 255
MAX_EMAIL_LENGTH = 320
MAX_NAME_LENGTH = 200
_MAX_ANSWER_BYTES = 256 * 1024


class ProviderNotUsable(Unavailable):
    """The OpenID provider does not describe itself as it has to; see FELIX_OIDC_ISSUER."""


class ProviderBusy(Unavailable):
    """Many people are signing in with the provider, and it takes its time; try again in a moment."""


@dataclass(frozen=True, slots=True)
class _Endpoints:
    authorization: str
    token: str
    keys: str


class OidcProvider:
    """The :class:`~felix.application.oidc.SignInProvider` of this installation. Safe from any thread."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        redirect_uri: str,
        *,
        outbound: Outbound | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a secret the client is a public one, which PKCE alone protects."""
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._outbound = outbound or Outbound("The OpenID provider", max_answer_bytes=_MAX_ANSWER_BYTES)
        self._clock = clock
        self._monotonic = monotonic
        self._places = threading.BoundedSemaphore(AT_A_TIME)
        self._guard = threading.Lock()
        self._endpoints: tuple[float, _Endpoints] | None = None
        self._keys: tuple[float, list[jwt.PyJWK]] | None = None
        self._asked_again_at = float("-inf")

    def challenge(self) -> Challenge:
        with self._one_of_few():
            return self._challenge()

    def redeem(self, code: str, verifier: str, nonce: str) -> Identity:
        with self._one_of_few():
            return self._redeem(code, verifier, nonce)

    def close(self) -> None:
        """Give the connections back."""
        self._outbound.close()

    @contextmanager
    def _one_of_few(self) -> Iterator[None]:
        """A provider that hangs keeps some callers waiting, and not all threads of a process."""
        if not self._places.acquire(blocking=False):
            raise ProviderBusy()
        try:
            yield
        finally:
            self._places.release()

    def _challenge(self) -> Challenge:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        digest = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": digest,
            "code_challenge_method": "S256",
        }
        address = self._discovered().authorization
        return Challenge(f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", state, nonce, verifier)

    def _redeem(self, code: str, verifier: str, nonce: str) -> Identity:
        try:
            return self._identity(self._claims(self._id_token(code, verifier)), nonce)
        except (jwt.PyJWTError, _Wrong, AnswerNotReadable, ValueError, TypeError, RecursionError) as error:
            # What is wrong is for the founder to read. The kind of error, not its text: that can hold what was sent.
            log.warning(
                "an answer of the OpenID provider was refused: %s",
                error if isinstance(error, _Wrong) else type(error).__name__,
            )
            raise OidcRefused() from None

    def _id_token(self, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        if self._client_secret is None:
            form["client_id"] = self._client_id
        else:
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote(self._client_id, safe='')}:{quote(self._client_secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        answer = self._outbound.ask("POST", self._discovered().token, headers=headers, form=form)
        if answer.status >= 500:
            raise ProviderNotUsable(f"The OpenID provider does not work right now ({answer.status}).")
        if answer.status != 200:
            raise _Wrong(f"the code was refused ({answer.status})")
        token = answer.document().get("id_token")
        if not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN_LENGTH:
            raise _Wrong("there is no ID token")
        return token

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, named = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not isinstance(named, str | None):
            raise _Wrong("the ID token is signed in a way that is not accepted")
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key(str(algorithm), named),
            algorithms=[str(algorithm)],
            audience=self._client_id,
            issuer=self._issuer,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
                # Compared below with our own clock, so that tests can move it.
                "verify_exp": False, "verify_iat": False, "verify_nbf": False,
            },
        )  # fmt: skip
        return claims

    def _identity(self, claims: Mapping[str, Any], nonce: str) -> Identity:
        now = self._clock()
        for claim in ("exp", "iat", "nbf"):
            moment = claims.get(claim, 0 if claim == "nbf" else None)
            if type(moment) not in (int, float) or not 0 <= moment < 2**40:
                raise _Wrong(f"{claim} is not a moment")
        if claims["exp"] <= now - LEEWAY_S:
            raise _Wrong("the ID token has expired")
        if not now - MAX_AGE_S <= claims["iat"] <= now + LEEWAY_S or claims.get("nbf", 0) > now + LEEWAY_S:
            raise _Wrong("the ID token is not from this moment")
        audience, party = claims["aud"], claims.get("azp")
        if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in (None, self._client_id):
            raise _Wrong("the ID token is for somebody else")
        given = claims["nonce"]
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="replace"), nonce.encode()):
            raise _Wrong("the ID token is not an answer to this sign-in")
        subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
            raise _Wrong("sub is not a name")
        # Some providers write the boolean as text.
        if claims.get("email_verified") not in (True, "true"):
            raise _Wrong("the address is not verified")
        if not isinstance(email, str) or len(email) > MAX_EMAIL_LENGTH or not email.isprintable() or "@" not in email:
            raise _Wrong("email is not an address")
        shown = name if isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable() else None
        return Identity(self._issuer, subject, email, shown)

    # --- what the provider says of itself ---

    def _discovered(self) -> _Endpoints:
        with self._guard:
            if self._endpoints is None or self._endpoints[0] + KEPT_FOR_S < self._monotonic():
                self._endpoints = (self._monotonic(), self._discover())
            return self._endpoints[1]

    def _discover(self) -> _Endpoints:
        try:
            told = self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if told.get("issuer") != self._issuer:
                raise ProviderNotUsable("The OpenID provider calls itself something else than FELIX_OIDC_ISSUER.")
            found = [told.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            return _Endpoints(*(str(check_address(each if isinstance(each, str) else "")) for each in found))
        except (AnswerNotReadable, AddressNotSafe) as error:
            raise ProviderNotUsable() from error

    def _key(self, algorithm: str, named: str | None) -> jwt.PyJWK:
        key = _chosen(self._known_keys(), algorithm, named)
        if key is None:
            with self._guard:
                again = self._monotonic() >= self._asked_again_at + ASK_AGAIN_AFTER_S
                if again:
                    self._asked_again_at = self._monotonic()
                    self._keys = None
            key = _chosen(self._known_keys(), algorithm, named) if again else None
        if key is None:
            raise _Wrong("nobody knows the key that the ID token is signed with")
        return key

    def _known_keys(self) -> list[jwt.PyJWK]:
        address = self._discovered().keys
        with self._guard:
            if self._keys is None or self._keys[0] + KEPT_FOR_S < self._monotonic():
                self._keys = (self._monotonic(), _usable(self._fetch(address).get("keys")))
            return self._keys[1]

    def _fetch(self, address: str) -> dict[str, Any]:
        answer = self._outbound.ask("GET", address, headers={"Accept": "application/json"})
        if answer.status != 200:
            raise ProviderNotUsable(f"The OpenID provider does not say what it has to ({answer.status}).")
        return answer.document()


class _Wrong(Exception):
    """Something about an answer of the provider; never what was in it."""


def _usable(told: object) -> list[jwt.PyJWK]:
    """The public keys that ID tokens may be signed with."""
    if not isinstance(told, list) or len(told) > MAX_KEYS:
        raise AnswerNotReadable("The OpenID provider does not show its keys.")
    found = []
    for each in told:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or "d" in each or each.get("kty") == "oct":
            continue
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}.get(str(each.get("kty")))
        if algorithm is None or each.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(each, algorithm=algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue
        if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= MIN_RSA_BITS:
            found.append(key)
    return found


def _chosen(keys: list[jwt.PyJWK], algorithm: str, named: str | None) -> jwt.PyJWK | None:
    """The key that a token names; one that names none is signed with the only one there is of its kind."""
    fitting = [key for key in keys if key.key_type == ALGORITHMS[algorithm] and named in (None, key.key_id)]
    return fitting[0] if len(fitting) == 1 else None
