"""Why a TLS connection did not come to be, in words and as Envoy's statistic. Knows no socket."""

from __future__ import annotations

NO_CERTIFICATE = "fail_verify_no_cert"
CHAIN = "fail_verify_error"
NAMES = "fail_verify_san"
PIN = "fail_verify_cert_hash"
CONNECTION = "connection_error"
TIMEOUT = "timeout"  # counted by the listener, not among those of TLS


class TlsConfigError(Exception):
    """The material of a TLS context is missing or bad; the message names the resource."""


class TlsFailed(ConnectionError):
    """The handshake, or the connection after it. statistic: Envoy's name of it below `ssl.`, ''
    for a peer that just went away."""

    def __init__(self, statistic: str, why: str) -> None:
        super().__init__(why)
        self.statistic = statistic
        self.why = why

    @property
    def by_alert(self) -> bool:
        """The peer has broken off, and said so."""
        return self.statistic == CONNECTION and " alert " in self.why

    @property
    def told(self) -> str:
        """For %..._TRANSPORT_FAILURE_REASON%, which Envoy begins so."""
        return f"TLS_error:{self.why}"
