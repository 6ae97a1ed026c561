"""Who is at the other end of a connection, in gRPC's words."""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

_LINE = 64  # RFC 7468 section 2


class Shown(Protocol):
    """What a TLS session has shown, DER: the peer's certificate, b"" for none, and the others."""

    @property
    def peer_der(self) -> bytes: ...

    def peer_chain(self) -> tuple[bytes, ...]: ...


class Peer:
    """name: `ipv4:1.2.3.4:5` or `ipv6:%5B::1%5D:5`."""

    __slots__ = ("_facts", "_session", "name")

    def __init__(self, host: str, port: int, session: Shown | None) -> None:
        """session: of a client that had to show a certificate, which was verified."""
        self.name = _named(host, port)
        self._session = session
        self._facts: dict[str, list[bytes]] | None = None

    def facts(self) -> dict[str, list[bytes]]:
        """gRPC's names of what the handshake has shown, in PEM."""
        if self._facts is None:
            self._facts = _facts(self._session) if self._session is not None else {}
        return self._facts


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
