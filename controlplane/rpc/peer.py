"""Who is at the other end of a connection, in gRPC's words."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

_LINE = 64  # RFC 7468 section 2


class Shown(Protocol):
    """What a TLS session has shown, DER: the peer's certificate, b"" for none, and the others."""

    @property
    def peer_der(self) -> bytes: ...

    def peer_chain(self) -> tuple[bytes, ...]: ...


class Peer:
    """name: `ipv4:1.2.3.4:5` or `ipv6:%5B::1%5D:5`. proven: it had to show a certificate."""

    __slots__ = ("_facts", "_session", "name", "proven")

    def __init__(self, host: str, port: int, session: Shown | None) -> None:
        """session: of a client that had to show a certificate, which was verified."""
        self.name = _named(host, port)
        self._session = session
        self.proven = session is not None
        self._facts: dict[str, list[bytes]] | None = None

    def facts(self) -> dict[str, list[bytes]]:
        """gRPC's names of what the handshake has shown, in PEM."""
        if self._facts is None:
            self._facts = _facts(self._session) if self._session is not None else {}
        return self._facts


def source_of(peer: str) -> str:
    """The sender, by the name of a peer: the address, of IPv6 its /64, which is what one has."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return peer
    return _sender(rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]"))


@lru_cache(maxsize=4096)
def _sender(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return host


def _named(host: str, port: int) -> str:
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    mapped = host.removeprefix("::ffff:")
    return f"ipv4:{mapped}:{port}" if "." in mapped else f"ipv6:%5B{host}%5D:{port}"


def _facts(session: Shown) -> dict[str, list[bytes]]:
    leaf = session.peer_der
    if not leaf:
        return {}
    chain = b"".join(map(_pem, (leaf, *session.peer_chain())))
    return {"x509_pem_cert": [_pem(leaf)], "x509_pem_cert_chain": [chain]}


def _pem(der: bytes) -> bytes:
    text = b64encode(der)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    return b"\n".join((begin, *lines, end, b""))
