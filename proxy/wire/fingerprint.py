"""What a ClientHello tells of the program that has sent it: JA3 and JA4 fingerprints.

Both are of the lists of a ClientHello without the values of RFC 8701 (GREASE), which change with
each connection. Sans-IO; what can't be read has no fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.wire.client_hello import Malformed, Reader, handshake_message

_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
_JA4_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3",
}  # fmt: skip
_JA4_HASH = 12
_NOTHING = "0" * _JA4_HASH


@dataclass(frozen=True, slots=True)
class Lists:
    """legacy_version: of the ClientHello itself. alpn: the first protocol. All in the order of the
    message, without GREASE."""

    legacy_version: int
    ciphers: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    point_formats: tuple[int, ...] = ()
    signatures: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    alpn: bytes = b""


def read(data: bytes) -> Lists | None:
    """data: from the connection's first byte, with a whole ClientHello."""
    try:
        message = handshake_message(data)
        return _lists(Reader(message)) if isinstance(message, bytes) else None
    except Malformed:
        return None


def ja3(lists: Lists) -> str:
    """MD5 of `version,ciphers,extensions,groups,point formats`, in hex."""
    parts = (lists.ciphers, lists.extensions, lists.groups, lists.point_formats)
    text = ",".join((str(lists.legacy_version), *("-".join(map(str, one)) for one in parts)))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def ja4(lists: Lists) -> str:
    """Of TLS over TCP: `t13d1516h2_HASH_HASH`, of sorted ciphers, and of sorted extensions with
    the signature algorithms as they came."""
    version = _JA4_VERSIONS.get(max(lists.versions, default=lists.legacy_version), "00")
    named = "d" if _SERVER_NAME in lists.extensions else "i"
    counts = "".join(f"{min(len(one), 99):02}" for one in (lists.ciphers, lists.extensions))
    hidden = (_SERVER_NAME, _ALPN)
    shown = _hex(sorted(one for one in lists.extensions if one not in hidden))
    signatures = _hex(lists.signatures)
    both = f"{shown}_{signatures}" if signatures else shown
    ciphers = _hash(_hex(sorted(lists.ciphers)))
    return f"t{version}{named}{counts}{_ends(lists.alpn)}_{ciphers}_{_hash(both)}"


def _ends(alpn: bytes) -> str:
    """The first and the last character; of others than letters and digits, hex digits."""
    if not alpn:
        return "00"
    first, last = alpn[:1], alpn[-1:]
    if first.isalnum() and last.isalnum():
        return (first + last).decode("ascii")
    return first.hex()[0] + last.hex()[1]


def _hex(numbers: Iterable[int]) -> str:
    return ",".join(f"{one:04x}" for one in numbers)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_JA4_HASH] if text else _NOTHING


def _lists(body: Reader) -> Lists:
    legacy_version = body.number(2)
    body.take(32)  # random
    body.vector(1)  # legacy_session_id
    ciphers = _numbers(body.vector(2))
    body.vector(1)  # legacy_compression_methods
    found: dict[int, Reader] = {}
    kinds: list[int] = []
    extensions = body.vector(2) if body.more else body
    while extensions.more:
        kind = extensions.number(2)
        kinds.append(kind)
        found[kind] = extensions.vector(2)
    return Lists(
        legacy_version,
        ciphers,
        tuple(one for one in kinds if not _is_grease(one)),
        _listed(found, _GROUPS, 2),
        tuple(found[_POINT_FORMATS].vector(1).data) if _POINT_FORMATS in found else (),
        _listed(found, _SIGNATURES, 2),
        _listed(found, _VERSIONS, 1),
        found[_ALPN].vector(2).vector(1).data if _ALPN in found else b"",
    )


def _listed(found: dict[int, Reader], kind: int, length_bytes: int) -> tuple[int, ...]:
    return _numbers(found[kind].vector(length_bytes)) if kind in found else ()


def _numbers(vector: Reader) -> tuple[int, ...]:
    found: list[int] = []
    while vector.more:
        number = vector.number(2)
        if not _is_grease(number):
            found.append(number)
    return tuple(found)


def _is_grease(number: int) -> bool:
    """RFC 8701: 0x0a0a, 0x1a1a ... 0xfafa."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF
