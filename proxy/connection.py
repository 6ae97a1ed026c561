"""What is known of a downstream connection once it is accepted: plain facts, filled in by `listen`.

Read by filter-chain matching, the access log, `x-forwarded-*` and policy; knows no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def _nobody_counts() -> None:
    """For connections that no listener counts."""


def _nothing_told(what: str) -> str:
    """For connections without TLS."""
    return ""


def _nothing_shown() -> tuple[bytes, ...]:
    """For connections without TLS."""
    return ()


@dataclass(slots=True)
class PeerCertificate:
    """The verified client (or server) certificate of a TLS connection, DER, leaf first.

    The fields that Envoy's format operators and `x-forwarded-client-cert` need; parsed once.
    scheme: how its key signs in TLS 1.3 (RFC 8446 section 4.2.3), '' if that may be in several
    ways."""

    uri_sans: tuple[str, ...] = ()
    dns_sans: tuple[str, ...] = ()
    subject: str = ""
    issuer: str = ""
    serial: str = ""
    sha256: str = ""
    not_after: float = 0.0
    not_before: float = 0.0
    ip_sans: tuple[str, ...] = ()
    email_sans: tuple[str, ...] = ()
    der: bytes = field(default=b"", repr=False)
    other_sans: tuple[str, ...] = ()
    scheme: str = ""


@dataclass(slots=True)
class Secured:
    """TLS of a connection to a host. peer: the host's certificate. own: ours, if there is one.
    told: what is seldom asked for (`group`, `session_id`), '' for what there is not."""

    version: str
    cipher: str
    peer: PeerCertificate | None = None
    own: PeerCertificate | None = None
    told: Callable[[str], str] = _nothing_told


class ConnectionInfo:
    """Addresses are (host, port); `local` is where the client meant to go: the original
    destination if the connection was redirected, else the listener's own address.

    filter_chain: the name of the one that serves it.

    state: what filters keep for the connection, by name; None as long as there is nothing.

    The connection's protocol calls `on_closed` once, in `connection_lost`: it is how the listener
    keeps `downstream_cx_active`.

    own: the certificate that the listener shows. peer_chain: what the peer has shown beside its
    certificate, DER. told: what TLS is seldom asked for, as in `Secured`, and `issuer_serial` and
    `issuer_sha256` of the certificate that has signed the peer's. ja3, ja4: fingerprints of its
    ClientHello, if the listener wants them. failure: why TLS failed, for
    `DOWNSTREAM_TRANSPORT_FAILURE_REASON`. termination: why we ended the connection, for
    `CONNECTION_TERMINATION_DETAILS`."""

    __slots__ = (
        "alpn",
        "cipher",
        "direct_local",
        "failure",
        "filter_chain",
        "ja3",
        "ja4",
        "local",
        "offered_alpn",
        "on_closed",
        "own",
        "peer",
        "peer_chain",
        "remote",
        "sni",
        "state",
        "termination",
        "tls",
        "tls_version",
        "told",
    )

    def __init__(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        direct_local: tuple[str, int],
        tls: bool = False,
        sni: str = "",
        alpn: str = "",
        offered_alpn: tuple[str, ...] = (),
        tls_version: str = "",
        cipher: str = "",
        peer: PeerCertificate | None = None,
        own: PeerCertificate | None = None,
        peer_chain: Callable[[], tuple[bytes, ...]] = _nothing_shown,
        told: Callable[[str], str] = _nothing_told,
    ) -> None:
        self.remote = remote
        self.local = local
        self.direct_local = direct_local
        self.tls = tls
        self.sni = sni
        self.alpn = alpn
        self.offered_alpn = offered_alpn
        self.tls_version = tls_version
        self.cipher = cipher
        self.peer = peer
        self.own = own
        self.peer_chain = peer_chain
        self.told = told
        self.ja3 = ""
        self.ja4 = ""
        self.failure = ""
        self.termination = ""
        self.filter_chain = ""
        self.state: dict[str, Any] | None = None
        self.on_closed: Callable[[], None] = _nobody_counts
