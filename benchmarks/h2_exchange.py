"""A whole proxy in memory that speaks HTTP/2 on both sides: `exchange`, eight streams at a time.

The bytes are those of `benchmarks.http2`: eight requests in one read, their answers in one read.
For `benchmarks.parts`, and to profile what a stream costs without the kernel.
"""

from __future__ import annotations

from typing import Any

from benchmarks.exchange import Silence, connect, start
from benchmarks.h2_peers import Answerer, Caller, frame
from proxy.upstream.http2 import UpstreamH2
from proxy.upstream.pool import Pool

STREAMS = 8
BATCHES = 256
SETTINGS, WINDOW_UPDATE = 4, 8


class H2Exchange:
    """One client connection and one upstream connection; new ones when the bytes are used up."""

    def __init__(self, grpc: bool = False) -> None:
        caller, answerer = Caller(STREAMS, grpc), Answerer(grpc)
        self._requests = [
            b"".join([caller._request() for _ in range(STREAMS)]) for _ in range(BATCHES)
        ]
        self._answers = [
            b"".join([answerer._reply(2 * (first + n) + 1) for n in range(STREAMS)])
            for first in range(0, BATCHES * STREAMS, STREAMS)
        ]
        self._hello = frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4))
        self._upstream: UpstreamH2 | None = None
        self._chain = start(self._open, "http2")
        self._client: Any = None
        self._at = BATCHES

    def _open(self, pool: Pool) -> None:
        connection = self._upstream = UpstreamH2(pool)
        connection.connection_made(Silence())  # type: ignore[arg-type]
        connection.adopt(0.0)
        pool.on_open(connection, 1.0)
        connection.data_received(self._hello)

    def _renew(self) -> None:
        if self._upstream is not None:
            self._client.connection_lost(None)
            self._upstream.connection_lost(None)
        self._client = connect(self._chain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._hello)
        self._at = 0

    def __call__(self) -> None:
        """Eight requests and their answers."""
        if self._at == BATCHES:
            self._renew()
        self._client.data_received(self._requests[self._at])
        assert self._upstream is not None
        self._upstream.data_received(self._answers[self._at])
        self._at += 1
