"""The first bytes of a connection say which HTTP its client speaks (Envoy's codec type AUTO).

TLS says it by ALPN; without, HTTP/2 begins with its preface (RFC 9113 section 3.4), and everything
else is HTTP/1's business. Until then there is no codec, and none is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.connection import ConnectionInfo
from proxy.l7.downstream_h1 import DownstreamH1
from proxy.l7.downstream_h2 import DownstreamH2
from proxy.wire.http_preface import HTTP2_PREFACE

if TYPE_CHECKING:
    from proxy.l7.manager import HttpManager


Judge = Callable[[ConnectionInfo, Callable[[bool], None]], Callable[[], None]]
"""Tells, perhaps at once, whether a connection may pass; answers how to end that early."""


def downstream(
    manager: HttpManager, info: ConnectionInfo, judge: Judge | None = None
) -> asyncio.Protocol:
    """The protocol of a new connection. With TLS, `info.alpn` is known by now. judge: has its say
    when the first bytes are here."""
    if judge is not None:
        return Sniffer(manager, info, judge)
    codec = manager.config.codec
    if codec == "HTTP1" or (codec == "AUTO" and info.alpn not in ("", "h2")):
        return DownstreamH1(manager, info)
    if codec == "HTTP2" or info.alpn == "h2":
        return DownstreamH2(manager, info)
    return Sniffer(manager, info)


class Sniffer(asyncio.Protocol):
    """Stands in for a connection until it is known what it is; then it is counted as that."""

    __slots__ = (
        "_first", "_judge", "_stop", "_transport", "closing", "idle_since", "info", "manager"
    )  # fmt: skip

    protocol = ""
    idle = True
    unsent_bytes = 0

    def __init__(
        self, manager: HttpManager, info: ConnectionInfo, judge: Judge | None = None
    ) -> None:
        self._judge = judge
        self._stop: Callable[[], None] | None = None
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
        if self._judge is not None:
            self._first = first
            if self._stop is None and self._transport is not None:
                self._transport.pause_reading()
                stop = self._judge(self.info, self._on_judged)
                if self._judge is not None:
                    self._stop = stop
            return
        if self.manager.config.codec == "AUTO" and self.info.alpn in ("", "h2"):
            self._sniff(first)
        else:
            self._become(first, self.manager.config.codec == "HTTP2")

    def _on_judged(self, passes: bool) -> None:
        self._judge = self._stop = None
        transport = self._transport
        if transport is None:
            return
        if not passes:
            self.closing = True
            transport.abort()
            return
        transport.resume_reading()
        first, self._first = self._first, b""
        self.data_received(first)

    def _sniff(self, first: bytes) -> None:
        if self.info.alpn == "h2":
            self._become(first, True)
            return
        if len(first) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(first):
            self._first = first
            return
        self._become(first, first.startswith(HTTP2_PREFACE))

    def _become(self, first: bytes, http2: bool) -> None:
        """What it is known to be now."""
        transport, manager = self._transport, self.manager
        if transport is None or self.closing:
            return
        manager.on_sniffed(self)
        real: DownstreamH1 | DownstreamH2
        if http2:
            real = DownstreamH2(manager, self.info)
        else:
            real = DownstreamH1(manager, self.info)
        self._transport = None
        transport.set_protocol(real)
        real.connection_made(transport)
        real.data_received(first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._stop is not None:
            self._stop()
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
