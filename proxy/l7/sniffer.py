"""The first bytes of a connection say which HTTP its client speaks (Envoy's codec type AUTO).

TLS says it by ALPN; without, HTTP/2 begins with its preface (RFC 9113 section 3.4), and everything
else is HTTP/1's business. Until then there is no codec, and none is counted.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.connection import ConnectionInfo
from proxy.l7.downstream_h1 import DownstreamH1
from proxy.l7.downstream_h2 import DownstreamH2
from proxy.wire.http_preface import HTTP2_PREFACE

if TYPE_CHECKING:
    from proxy.l7.manager import HttpManager


def downstream(manager: HttpManager, info: ConnectionInfo) -> asyncio.Protocol:
    """The protocol of a new connection. With TLS, `info.alpn` is known by now."""
    codec = manager.config.codec
    if codec == "HTTP1" or (codec == "AUTO" and info.alpn not in ("", "h2")):
        return DownstreamH1(manager, info)
    if codec == "HTTP2" or info.alpn == "h2":
        return DownstreamH2(manager, info)
    return Sniffer(manager, info)


class Sniffer(asyncio.Protocol):
    """Stands in for a connection until it is known what it is; then it is counted as that."""

    __slots__ = ("_first", "_transport", "closing", "idle_since", "info", "manager")

    protocol = ""
    idle = True
    unsent_bytes = 0

    def __init__(self, manager: HttpManager, info: ConnectionInfo) -> None:
        self.manager = manager
        self.info = info
        self.closing = False
        self.idle_since = monotonic()
        self._first = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self.manager.on_connection(self)

    def data_received(self, data: bytes) -> None:
        first = self._first + data if self._first else data
        if len(first) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(first):
            self._first = first
            return
        transport, manager = self._transport, self.manager
        if transport is None or self.closing:
            return
        manager.on_sniffed(self)
        real: DownstreamH1 | DownstreamH2
        if first.startswith(HTTP2_PREFACE):
            real = DownstreamH2(manager, self.info)
        else:
            real = DownstreamH1(manager, self.info)
        self._transport = None
        transport.set_protocol(real)
        real.connection_made(transport)
        real.data_received(first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.manager.on_connection_end(self)
        self.info.on_closed()

    def close_gently(self) -> None:
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """About once a second: a client that says nothing is idle."""
        manager = self.manager
        silent_s = now - self.idle_since
        if self.closing:
            return
        if manager.draining and now >= manager.drained_at:
            self.close_gently()
        elif manager.idle_timeout_s and silent_s > manager.idle_timeout_s:
            manager.stats.downstream_cx_idle_timeout.value += 1
            self.close_gently()
        elif manager.max_duration_s and silent_s > manager.max_duration_s:
            manager.stats.downstream_cx_max_duration_reached.value += 1
            self.close_gently()
