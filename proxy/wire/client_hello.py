"""What the first bytes of a connection say: a TLS ClientHello, its server name and its ALPN list.

Sans-IO and stateless: `parse` is given everything that came so far, from the first byte, and may be
asked again with more. It never raises, whatever the bytes. Knows no socket and no certificate.

RFC 8446 section 5.1 (records), 4.1.2 (ClientHello), 4.2.1 (supported_versions); RFC 6066 section 3
(server_name); RFC 7301 (ALPN). The ClientHello may lie in several records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_CLIENT_HELLO_BYTES = 16 * 1024  # Envoy's tls_inspector reads no more either

Unfinished = Literal["need_more", "not_tls", "too_large"]

_RECORD_HANDSHAKE = 22
_CLIENT_HELLO = 1
_EXTENSION_SERVER_NAME = 0
_EXTENSION_ALPN = 16
_EXTENSION_SUPPORTED_VERSIONS = 43
_MAX_RECORD_BYTES = 16 * 1024 + 256  # RFC 8446 section 5.2


@dataclass(frozen=True, slots=True)
class ClientHello:
    """server_name in lower case, '' when the client sent none. versions as numbers (0x0304 is 1.3),
    without GREASE values; of a client that knows no supported_versions its legacy_version."""

    server_name: str = ""
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()


class Malformed(Exception):
    """A length points beyond its enclosing field; `parse` catches it."""


class Reader:
    """Length-prefixed fields of a TLS message (RFC 8446 section 3.4)."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise Malformed
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def vector(self, length_bytes: int) -> Reader:
        return Reader(self.take(self.number(length_bytes)))

    @property
    def more(self) -> bool:
        return self.position < len(self.data)


def parse(data: bytes) -> ClientHello | Unfinished:
    """The ClientHello at the start of `data`, or why there is none (yet)."""
    try:
        message = handshake_message(data)
        if isinstance(message, bytes):
            return _client_hello(Reader(message))
    except Malformed:
        return "not_tls"
    return message


def handshake_message(data: bytes) -> bytes | Unfinished:
    """The body of the first handshake message, put together from its records."""
    fragments = b""
    position = 0
    while True:
        header = data[position : position + 5]
        if not _may_be_record(header):
            return "not_tls"
        length = int.from_bytes(header[3:5], "big") if len(header) == 5 else 0
        if len(header) == 5 and not 0 < length <= _MAX_RECORD_BYTES:
            return "not_tls"
        fragments += data[position + 5 : position + 5 + length]
        if fragments and fragments[0] != _CLIENT_HELLO:
            return "not_tls"
        if len(fragments) >= 4:
            size = int.from_bytes(fragments[1:4], "big")
            if size > MAX_CLIENT_HELLO_BYTES:
                return "too_large"
            if len(fragments) >= 4 + size:
                return fragments[4 : 4 + size]
        position += 5 + length
        if len(header) < 5 or position > len(data):
            return "too_large" if len(data) >= 2 * MAX_CLIENT_HELLO_BYTES else "need_more"


def _may_be_record(header: bytes) -> bool:
    """True as long as nothing contradicts a handshake record of SSL 3.0 to TLS 1.3."""
    if header[:1] not in (b"", bytes([_RECORD_HANDSHAKE])):
        return False
    return header[1:2] in (b"", b"\x03")


def _client_hello(body: Reader) -> ClientHello:
    legacy_version = body.number(2)
    body.take(32)  # random
    body.vector(1)  # legacy_session_id
    body.vector(2)  # cipher_suites
    body.vector(1)  # legacy_compression_methods
    server_name, alpn = "", ()  # type: str, tuple[str, ...]
    versions: tuple[int, ...] = (legacy_version,)
    extensions = body.vector(2) if body.more else body
    while extensions.more:
        kind = extensions.number(2)
        value = extensions.vector(2)
        if kind == _EXTENSION_SERVER_NAME:
            server_name = _server_name(value)
        elif kind == _EXTENSION_ALPN:
            alpn = _alpn(value)
        elif kind == _EXTENSION_SUPPORTED_VERSIONS:
            versions = _supported_versions(value)
    return ClientHello(server_name, alpn, versions)


def _server_name(value: Reader) -> str:
    """The first entry of type host_name; a server's empty echo has none."""
    names = value.vector(2) if value.more else value
    while names.more:
        kind = names.number(1)
        name = names.vector(2).data
        if kind == 0:
            return name.decode("ascii", "replace").lower()
    return ""


def _alpn(value: Reader) -> tuple[str, ...]:
    names = value.vector(2)
    found = []
    while names.more:
        found.append(names.vector(1).data.decode("latin-1"))
    return tuple(found)


def _supported_versions(value: Reader) -> tuple[int, ...]:
    listed = value.vector(1)
    found = []
    while listed.more:
        version = listed.number(2)
        if version & 0x0F0F != 0x0A0A:  # RFC 8701: GREASE
            found.append(version)
    return tuple(found)
