"""The file of join tokens: JSON with digests only, read strictly, and a checksum of all of it.

Knows the format, not the rules by which a token is accepted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_secret
from certs.spiffe import SpiffeId
from protos.frozen import frozen

_VERSION = 2
_WITHOUT_CHECKSUM = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@frozen
class TokenRecord:
    """One token: digests in hexadecimal, `expires_at` in Unix seconds, `key_sha256` '' if unspent.

    `identity` is a SPIFFE ID as text.
    """

    sha256: str
    identity: str
    expires_at: float
    reusable: bool
    key_sha256: str = ""


def tokens_to_json(records: Iterable[TokenRecord]) -> bytes:
    """The whole file."""
    tokens: list[object] = [asdict(record) for record in records]
    return json.dumps({"version": _VERSION, "sha256": _digest(tokens), "tokens": tokens}).encode()


def token_to_json(record: TokenRecord) -> bytes:
    """One of them, where each has a place of its own."""
    return json.dumps(asdict(record)).encode()


def token_from_json(value: bytes) -> TokenRecord:
    """ValueError: it is no token."""
    return _record(json.loads(value))


def read_tokens(path: Path) -> tuple[TokenRecord, ...]:
    """The records of the file, none if there is no file; CertificateError names a bad one."""
    if not os.path.lexists(path):
        return ()
    try:
        content = json.loads(read_secret(path))
        return tuple(_record(entry) for entry in _entries(content))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CertificateError) and str(path) in str(error):
            raise
        raise CertificateError(
            f"{path} is not a file of join tokens ({error}): move it away, and workloads that "
            "have not joined yet need new tokens"
        ) from error


def _entries(content: object) -> list[object]:
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or version not in (_VERSION, _WITHOUT_CHECKSUM):
        raise ValueError(f"no version {_VERSION}")
    entries = content.get("tokens")
    if not isinstance(entries, list):
        raise ValueError("no list of tokens")
    if version != _WITHOUT_CHECKSUM and content.get("sha256") != _digest(entries):
        raise ValueError("its checksum does not fit")
    return entries


def _digest(tokens: list[object]) -> str:
    return hashlib.sha256(json.dumps(tokens, sort_keys=True).encode()).hexdigest()


def _record(entry: object) -> TokenRecord:
    if not isinstance(entry, dict) or set(entry) != set(_CHECKS):
        raise ValueError("an entry has other fields")
    for name, check in _CHECKS.items():
        if not check(entry[name]):
            raise ValueError(f"an entry's {name} is not of its kind")
    return TokenRecord(**entry)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


_CHECKS: dict[str, Callable[[object], bool]] = {
    "sha256": _is_sha256,
    "identity": lambda value: isinstance(value, str) and SpiffeId.parse(value).path != "",
    "expires_at": lambda value: isinstance(value, float),
    "reusable": lambda value: isinstance(value, bool),
    "key_sha256": lambda value: value == "" or _is_sha256(value),
}
