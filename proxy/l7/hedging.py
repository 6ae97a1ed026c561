"""Hedging: the attempt that took too long goes on while the stream makes a new one.

    stream's own attempt -(per-try timeout)-> a hedge beside a new attempt -> the first good answer

An answer is good unless the rule would try it again. The stream stays the exchange of its newest
attempt; an earlier one is handed over to a `Hedge`, and back if it is the one that wins. What is
lost or refused waits in silence for the others as long as there are any (Envoy's hedge policy).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7 import attempts
from proxy.upstream.pool import Carrier

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


class Hedge:
    """One attempt of a stream, no longer its newest (`pool.Exchange`)."""

    __slots__ = ("breaker", "cluster", "host", "request", "stream", "up", "up_id")

    def __init__(self, stream: Stream) -> None:
        assert stream.cluster is not None and stream.host is not None and stream.up is not None
        self.stream = stream
        self.request = stream.request
        self.breaker = stream.breaker
        self.cluster = stream.cluster
        self.host = stream.host
        self.up = stream.up
        self.up_id = stream.up_id
        self.up.hand_over(stream, self)
        stream.up = None
        stream.hedges = (*stream.hedges, self)

    # ------------------------------------------------------------------ the connection's side

    def on_connected(self, connection: Carrier) -> None:
        """Never: the time of an attempt begins when it has its connection."""

    def on_informational(self, status: int, headers: Headers) -> None:
        self.stream.on_informational(status, headers)

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        stream = self.stream
        self.cluster.on_response(self.host, self.request, response, monotonic())
        rule = stream.rule
        self._leave()
        if rule is not None and rule.on_response(response) and attempts.is_trying(stream):
            if not end:
                self.up.abandon(self)
            return
        self._win(end)
        attempts.keep(stream, response, data, end, monotonic())

    def _win(self, end: bool) -> None:
        stream = self.stream
        attempts.stop(stream)
        stream.host = self.host
        if not end:
            self.up.hand_over(self, stream)
            stream.up = self.up

    def on_data(self, data: bytes) -> None:
        """Never: its answer was dropped, or handed over with its head."""

    def on_end(self, trailers: Headers | None) -> None:
        """Never, as above."""

    def on_reset(self, reason: str, detail: str = "") -> None:
        stream = self.stream
        self._leave()
        self.cluster.on_local_error(self.host, monotonic())
        attempts.lose(stream, reason, detail)

    def on_writable(self, writable: bool) -> None:
        self.stream.on_writable(writable)

    # ------------------------------------------------------------------ the stream's side

    def abandon(self) -> None:
        """Another attempt has won, or nobody wants an answer any more."""
        self._leave()
        self.up.abandon(self)

    def _leave(self) -> None:
        self.stream.hedges = tuple(one for one in self.stream.hedges if one is not self)


def hand_over(stream: Stream) -> None:
    """The stream's own attempt goes on as a hedge; the stream is free to make another."""
    Hedge(stream)
