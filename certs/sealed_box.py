"""Bytes that only whoever has the passphrase can read or make: for secrets that leave the machine.

    box = SealedBox(passphrase)
    sealed = box.seal(b"...", b"authority")     # what it is, so that nothing can be swapped
    box.open(sealed, b"authority")

AES-256-GCM (NIST SP 800-38D), the key by scrypt (RFC 7914), each with randomness of its own. Knows
nothing of what is inside.
"""

from __future__ import annotations

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from certs.errors import CertificateError

_MAGIC = b"weft1"
_SALT_BYTES = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32
_COST = 1 << 15
"""32 MiB and a tenth of a second for each guess."""
_KEYS_KEPT = 32


class SealedBox:
    """One passphrase. A salt is made once for all that is sealed here, since a key is slow to
    derive; that of the first value that opens is used on, so that a store that many processes have
    written to, one after the other, has few."""

    __slots__ = ("_key_of", "_salt")

    def __init__(self, passphrase: bytes) -> None:
        self._salt = b""

        @lru_cache(_KEYS_KEPT)
        def key_of(salt: bytes) -> AESGCM:
            derived = Scrypt(salt=salt, length=_KEY_BYTES, n=_COST, r=8, p=1).derive(passphrase)
            return AESGCM(derived)

        self._key_of = key_of

    def seal(self, data: bytes, what: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        self._salt = self._salt or os.urandom(_SALT_BYTES)
        return _MAGIC + self._salt + nonce + self._key_of(self._salt).encrypt(nonce, data, what)

    def open(self, sealed: bytes, what: bytes) -> bytes:
        """CertificateError: it is something else, was changed, or has another passphrase."""
        salt_at, nonce_at = len(_MAGIC), len(_MAGIC) + _SALT_BYTES
        nonce, rest = sealed[nonce_at : nonce_at + _NONCE_BYTES], sealed[nonce_at + _NONCE_BYTES :]
        if not sealed.startswith(_MAGIC) or len(nonce) < _NONCE_BYTES:
            raise CertificateError("it is not what Weft has sealed")
        try:
            opened = self._key_of(sealed[salt_at:nonce_at]).decrypt(nonce, rest, what)
        except InvalidTag:
            raise CertificateError(
                "it was sealed with another passphrase, or changed since"
            ) from None
        self._salt = self._salt or sealed[salt_at:nonce_at]
        return opened
