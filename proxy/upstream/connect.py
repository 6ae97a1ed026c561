"""Opens connections for pools: the only task on the way of a request, and only when none is ready.

Which HTTP a connection speaks is its pool's word, or the host's choice by ALPN (RFC 7301).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import cast

from proxy.outbox import Pipe, flush
from proxy.tasks import spawn
from proxy.upstream.dial import dial
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.http2 import UpstreamH2
from proxy.upstream.pool import Pool

# A peer that does not answer our close_notify is not waited for longer.
CLOSE_NOTIFY_WAIT_S = 1.0


def open_connection(pool: Pool) -> None:
    """Starts a connection; the pool hears of it by `on_open` or `on_open_failed`."""
    spawn(_open(pool), f"connect {pool.cluster.name} {pool.host.text}")


async def _open(pool: Pool) -> None:
    dialled = _for(pool)
    started = monotonic()
    failure = await dial(pool.cluster, pool.host, dialled, CLOSE_NOTIFY_WAIT_S, pool.way)
    connection = dialled.chosen if isinstance(dialled, _ByAlpn) else dialled
    if failure is not None:
        if connection is not None:
            connection.discard()
        pool.on_open_failed(failure.reason, failure.detail, failure.timed_out)
    else:
        assert connection is not None, "a transport has a protocol"
        connection.adopt(monotonic())
        pool.on_open(connection, (monotonic() - started) * 1000)
        if isinstance(connection, UpstreamH2):
            connection.begin_reading()
    flush()


def _for(pool: Pool) -> UpstreamH1 | UpstreamH2 | _ByAlpn:
    version = pool.way.version
    if version == "HTTP1":
        return UpstreamH1(pool)
    return UpstreamH2(pool) if version == "HTTP2" else _ByAlpn(pool)


class _ByAlpn(asyncio.Protocol):
    """Stands behind TLS until the handshake has told the protocol; then steps aside. The cluster's
    TLS material may have changed since the handshake began."""

    __slots__ = ("_generation", "_pool", "chosen")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._generation = pool.cluster.generation
        self.chosen: UpstreamH1 | UpstreamH2 | None = None

    @property
    def transport(self) -> Pipe | None:
        return self.chosen.transport if self.chosen is not None else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        tls = transport.get_extra_info("tls")
        speaks_h2 = tls is not None and tls.alpn == "h2"
        self._pool.on_negotiated("HTTP2" if speaks_h2 else "HTTP1")
        chosen = self.chosen = UpstreamH2(self._pool) if speaks_h2 else UpstreamH1(self._pool)
        chosen.generation = self._generation
        transport.set_protocol(chosen)
        chosen.connection_made(transport)
