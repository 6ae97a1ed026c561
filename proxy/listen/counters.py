"""A listener's statistics under Envoy's names: `listener.<address>.downstream_cx_total` ..."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.stats import Stats
from proxy.tls.counters import TlsCounters


class ListenerCounters:
    """Of one listening address; kept while configurations of the listener come and go."""

    def __init__(self, stats: Stats, prefix: str) -> None:
        """prefix: the address or the configured stat_prefix; Envoy writes `:` as `_`."""
        base = f"listener.{prefix.replace(':', '_')}."
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
        self.listener_unusable = stats.counter(base + "on_demand_listener_unusable")
        self.no_filter_chain_match = stats.counter(base + "no_filter_chain_match")
        self.tls = TlsCounters(stats, base)

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
