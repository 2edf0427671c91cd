"""Encryption of what must be kept and must not be read: one root key, from which everything else is derived.

The root key is 32 random bytes outside the database (``FELIX_ROOT_KEY``, or the file ``root-key`` of the data
directory) and is backed up apart from it: a stolen database tells no secret. Values are sealed with AES-256-GCM; the
associated data names what a value is and whose, so a sealed value that is put in another place does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from felix.domain.errors import Corrupt, Invalid

KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID_BYTES = 4
_FORMAT = b"\x01"


class NotARootKey(Invalid):
    """A root key is 32 random bytes in base64, as `felix up` makes one."""


class SealBroken(Corrupt):
    """A sealed value does not open: it was changed, put in another's place, or sealed with another root key."""


def new_root_key() -> str:
    """A fresh root key in the form in which it is kept."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def seal(key: bytes, plaintext: bytes, *place: str) -> bytes:
    """Encrypt under a 32-byte key. ``place`` says what it is and whose; it is needed again to open it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, _associated(place))


def unseal(key: bytes, sealed: bytes, *place: str) -> bytes:
    """The plaintext. Raises :class:`SealBroken`."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(place))
    except (InvalidTag, ValueError):
        raise SealBroken(place="/".join(place)) from None


class RootKeys:
    """The root key in force, and earlier ones that old values still open with."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys`` in base64, the one in force first. Raises :class:`NotARootKey`."""
        self._keys = {_key_id(key): key for key in map(_decode, keys)}
        if not self._keys:
            raise NotARootKey()
        self._current = next(iter(self._keys))

    @property
    def count(self) -> int:
        """How many root keys there are."""
        return len(self._keys)

    @property
    def current(self) -> bytes:
        """What names the root key in force: four bytes, after the first of what it has sealed."""
        return self._current

    def seal(self, plaintext: bytes, *place: str) -> bytes:
        """Encrypt under the root key in force."""
        return _FORMAT + self._current + seal(self._sealing(self._current), plaintext, *place)

    def unseal(self, sealed: bytes, *place: str) -> bytes:
        """The plaintext, whichever root key it was sealed with. Raises :class:`SealBroken`."""
        key_id = sealed[1 : 1 + _KEY_ID_BYTES]
        if sealed[:1] != _FORMAT or key_id not in self._keys:
            raise SealBroken(place="/".join(place))
        return unseal(self._sealing(key_id), sealed[1 + _KEY_ID_BYTES :], *place)

    def is_current(self, sealed: bytes) -> bool:
        """Whether a value was sealed with the root key in force."""
        return sealed[1 : 1 + _KEY_ID_BYTES] == self._current

    def index(self, purpose: str, text: str) -> bytes:
        """What a text is found by and not known from: HMAC-SHA256 under a key derived from the oldest root key.

        The oldest, because what was indexed once must be found after a rotation.
        """
        oldest = list(self._keys.values())[-1]
        return hmac.digest(_derive(oldest, f"index:{purpose}"), text.encode(), sha256)

    def index_key(self, purpose: str) -> bytes:
        """The key of an index that is asked too often to derive it each time; the oldest, as everywhere."""
        return _derive(list(self._keys.values())[-1], f"index-key:{purpose}")

    def _sealing(self, key_id: bytes) -> bytes:
        return _derive(self._keys[key_id], "seal")


def _associated(place: Sequence[str]) -> bytes:
    """Unambiguous: each part with its length in front."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in place)


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"felix:" + purpose.encode()).derive(key)


def _key_id(key: bytes) -> bytes:
    return sha256(b"felix:key-id" + key).digest()[:_KEY_ID_BYTES]


def _decode(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise NotARootKey() from None
    if len(key) != KEY_BYTES:
        raise NotARootKey()
    return key
