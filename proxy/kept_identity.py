"""The identity at rest: STATE/identity.pem, an encrypted key and the chain that it got.

Encrypted under what the join token says, so that the file alone is worth nothing. Pure; knows
neither the CA nor when to renew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certs.errors import CertificateError
from certs.keys import PrivateKey, key_from_pem, key_to_pem
from certs.x509 import Certificate, chain_from_pem, chain_to_pem

FILE = "identity.pem"
_KEY_BLOCK = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----.*?-----END ENCRYPTED PRIVATE KEY-----\n?", re.DOTALL
)


def passphrase(token: str) -> bytes:
    """RFC 5869 (HKDF) of the join token: whoever has the token could get the certificate anyway."""
    derive = HKDF(hashes.SHA256(), 32, salt=b"weft", info=b"identity.pem private key")
    return derive.derive(token.encode()).hex().encode()


def encode_file(key: PrivateKey, chain: Sequence[Certificate], secret: bytes) -> bytes:
    return key_to_pem(key, secret) + chain_to_pem(chain)


def decode_file(data: bytes, secret: bytes) -> tuple[PrivateKey, tuple[Certificate, ...]]:
    """The key, and the chain, which is empty while the CA has not answered yet."""
    block = _KEY_BLOCK.match(data)
    if block is None:
        raise CertificateError("it does not begin with an encrypted private key")
    key = key_from_pem(block.group(), secret)
    rest = data[block.end() :]
    return key, chain_from_pem(rest, "its chain") if rest.strip() else ()
