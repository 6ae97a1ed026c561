"""Spans of attempts (`spawn_upstream_span`): a child of the request's span for each.

One is begun when a host was chosen, told of what becomes of it, and over when the next begins or
the stream ends; it says nothing of an attempt that goes on beside a newer one.
"""

from __future__ import annotations

from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from proxy.http.message import Response
from proxy.l7 import grpc_status, span_tags
from proxy.l7.facts import wall_time
from proxy.tracing.span import Parent, Span

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

EVENTS = ("US_TX_BEG", "US_TX_END", "US_RX_BEG", "US_RX_END")


class AttemptSpan:
    """response: of the host, also one that the client does not get. flags: why it was lost.
    over_at: monotonic seconds, 0.0 while it goes on."""

    __slots__ = ("flags", "host", "over_at", "protocol", "response", "span", "status")

    def __init__(self, of: Span, stream: Stream, random: Random) -> None:
        cluster = stream.cluster
        name = "" if cluster is None else cluster.config.alt_stat_name or cluster.name
        parent = Parent(of.trace_id, of.span_id, of.sampled, of.state)
        self.span = Span(f"router {name} egress", "CLIENT", random, parent)
        self.span.sampled = of.sampled
        self.span.started = wall_time(monotonic())
        if stream.attempt > 1:
            self.span.tags["retry.count"] = str(stream.attempt - 1)
        self.host = "" if stream.host is None else stream.host.text
        self.protocol = "-"
        self.response: Response | None = None
        self.status = 0
        self.flags = ""
        self.over_at = 0.0

    def answered(self, response: Response) -> None:
        self.response, self.status = response, response.status

    def canceled(self) -> None:
        """By us: there is another one, or no time left."""
        if not self.over_at:
            self.span.tags["canceled"] = "true"

    def lost(self, flag: str, reason: str) -> None:
        self.flags = flag
        self.span.tags["error"] = "true"
        self.span.tags["error.reason"] = reason

    def over(self) -> None:
        self.over_at = self.over_at or monotonic()

    def finish(self, stream: Stream, last: bool) -> Span:
        """last: the stream is over, too."""
        self.over()
        span, tags, status = self.span, self.span.tags, self.status
        told = grpc_status.told_status(stream) if last and self.response is not None else None
        if told is not None:
            span_tags.of_grpc(span, stream, told)
        tags["http.protocol"] = self.protocol
        tags["upstream_address"] = tags["peer.address"] = self.host
        span_tags.of_cluster(span, stream)
        tags["http.status_code"] = str(status)
        tags["response_flags"] = self.flags or "-"
        if not status or status >= 500:
            tags["error"] = "true"
        if status >= 400 and told is None:
            span.failed = True
        span.ended = wall_time(self.over_at)
        return span
