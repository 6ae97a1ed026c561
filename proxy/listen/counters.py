"""A listener's statistics under Envoy's names: `listener.<address>.downstream_cx_total` ..."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from proxy.stats import Stats


class ListenerCounters:
    """Of one listening address; kept while configurations of the listener come and go."""

    def __init__(self, stats: Stats, prefix: str) -> None:
        """prefix: the address or the configured stat_prefix; Envoy writes `:` as `_`."""
        self._stats = stats
        self._base = base = f"listener.{prefix.replace(':', '_')}."
        self.cx_total = stats.counter(base + "downstream_cx_total")
        self.cx_destroy = stats.counter(base + "downstream_cx_destroy")
        self.cx_active = stats.gauge(base + "downstream_cx_active")
        self.cx_overflow = stats.counter(base + "downstream_cx_overflow")
        self.cx_length_ms = stats.histogram(base + "downstream_cx_length_ms")
        self.pre_cx_timeout = stats.counter(base + "downstream_pre_cx_timeout")
        self.pre_cx_active = stats.gauge(base + "downstream_pre_cx_active")
        self.handshake_timeout = stats.counter(
            base + "downstream_cx_transport_socket_connect_timeout"
        )
        self.remote_close = stats.counter(base + "downstream_listener_filter_remote_close")
        self.no_filter_chain_match = stats.counter(base + "no_filter_chain_match")
        self.tls_handshake = stats.counter(base + "ssl.handshake")
        self.tls_connection_error = stats.counter(base + "ssl.connection_error")
        self.tls_session_reused = stats.counter(base + "ssl.session_reused")
        self.tls_no_certificate = stats.counter(base + "ssl.no_certificate")
        self.fail_verify_no_cert = stats.counter(base + "ssl.fail_verify_no_cert")
        self.fail_verify_error = stats.counter(base + "ssl.fail_verify_error")
        self.fail_verify_san = stats.counter(base + "ssl.fail_verify_san")

    def opened(self) -> Callable[[], None]:
        """Counts a connection; call what it answers once the connection is closed."""
        self.cx_total.value += 1
        self.cx_active.value += 1
        started = time.monotonic()

        def closed() -> None:
            self.cx_active.value -= 1
            self.cx_destroy.value += 1
            self.cx_length_ms.record((time.monotonic() - started) * 1000)

        return closed

    def tls_established(self, tls: ssl.SSLObject, has_certificate: bool) -> None:
        self.tls_handshake.value += 1
        self.tls_session_reused.value += bool(tls.session_reused)
        self.tls_no_certificate.value += not has_certificate
        cipher = tls.cipher()
        if cipher is not None:
            self._stats.counter(f"{self._base}ssl.ciphers.{cipher[0]}").value += 1
        self._stats.counter(f"{self._base}ssl.versions.{tls.version()}").value += 1

    def tls_failed(self, error: Exception) -> str:
        """Counts a failed handshake as Envoy does; answers the reason in words."""
        reason = getattr(error, "reason", None) or ""
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            self.fail_verify_no_cert.value += 1
        elif reason == "CERTIFICATE_VERIFY_FAILED":
            self.fail_verify_error.value += 1
            return str(getattr(error, "verify_message", "") or "certificate verify failed")
        elif isinstance(error, ConnectionAbortedError):
            self.handshake_timeout.value += 1
            return "the TLS handshake took too long"
        else:
            self.tls_connection_error.value += 1
        return str(reason).replace("_", " ").lower() or str(error) or type(error).__name__


class InspectorCounters:
    """Of `tls_inspector` and `http_inspector`, which Envoy counts for the whole process."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self.tls_found = stats.counter("tls_inspector.tls_found")
        self.tls_not_found = stats.counter("tls_inspector.tls_not_found")
        self.client_hello_too_large = stats.counter("tls_inspector.client_hello_too_large")
        self.alpn_found = stats.counter("tls_inspector.alpn_found")
        self.alpn_not_found = stats.counter("tls_inspector.alpn_not_found")
        self.sni_found = stats.counter("tls_inspector.sni_found")
        self.sni_not_found = stats.counter("tls_inspector.sni_not_found")
        self.http = {
            "http/1.0": stats.counter("http_inspector.http10_found"),
            "http/1.1": stats.counter("http_inspector.http11_found"),
            "h2c": stats.counter("http_inspector.http2_found"),
            "not_http": stats.counter("http_inspector.http_not_found"),
        }

    def proxy_protocol(self, prefix: str) -> Callable[[str], None]:
        """Counts under `proxy_proto.`; prefix: the filter's own, '' for none."""
        base = f"proxy_proto.{prefix}." if prefix else "proxy_proto."

        def count(name: str) -> None:
            self._stats.counter(base + name).value += 1

        return count
