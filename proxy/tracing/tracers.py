"""Tracers: how the identity of a span comes to be, how it goes on, and to whom spans are given."""

from __future__ import annotations

from random import Random
from typing import Protocol

from proxy.config.model import FractionalPercent
from proxy.config.model.tracing import Sampler, ZipkinConfig
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.tracing import b3, w3c
from proxy.tracing.export import Exporter
from proxy.tracing.span import Kind, Parent, Span
from proxy.tracing.w3c import Unreadable


class Tracer(Protocol):
    def start(self, request: Request, kind: Kind, egress: bool, wanted: bool) -> Span | None:
        """wanted: by our own decision. None: whose trace it is can't be known."""

    def write(self, headers: Headers, span: Span) -> None: ...
    def take(self, span: Span) -> None:
        """It is over, and sampled."""


class OpenTelemetryTracer:
    """A parent that is not sampled has no sampled children, unless the sampler looks at no parent;
    one that is does not overrule us."""

    def __init__(
        self,
        sampler: Sampler,
        ratio: FractionalPercent | None,
        exporter: Exporter,
        random: Random,
    ) -> None:
        self._looks_at_parent = sampler in ("", "parent_based")
        self._ratio = ratio
        self._exporter = exporter
        self._random = random

    def start(self, request: Request, kind: Kind, egress: bool, wanted: bool) -> Span | None:
        try:
            parent = w3c.parent_of(request.headers)
        except Unreadable:
            return None
        name = "ingress"
        if egress:
            name = "egress " + request.authority.decode("utf-8", "replace")
        span = Span(name, kind, self._random, parent)
        if parent is not None and self._looks_at_parent:
            wanted = wanted and bool(parent.sampled)
        elif self._ratio is not None:
            wanted = wanted and _is_of_share(span.trace_id, self._ratio)
        span.sampled = wanted
        return span

    def write(self, headers: Headers, span: Span) -> None:
        w3c.write(headers, span)

    def take(self, span: Span) -> None:
        self._exporter.take(span)


class ZipkinTracer:
    """What the caller says of sampling counts more than our own decision. Its span is ours, too,
    on the server's side, unless the configuration has them apart."""

    def __init__(self, config: ZipkinConfig, exporter: Exporter, random: Random) -> None:
        self._config = config
        self._exporter = exporter
        self._random = random

    def start(self, request: Request, kind: Kind, egress: bool, wanted: bool) -> Span | None:
        config, headers = self._config, request.headers
        try:
            parent = b3.parent_of(headers)
            if parent is None and config.w3c and b3.SINGLE not in headers:
                parent = w3c.parent_of(headers)
        except Unreadable:
            return None
        shares = config.shares and kind == "SERVER"
        span = Span(request.authority.decode("utf-8", "replace"), kind, self._random, parent)
        if parent is None:
            high = f"{self._random.getrandbits(64):016x}" if config.long_ids else ""
            span.trace_id = high + span.span_id
        elif shares:
            _become(span, parent)
        span.shared = shares
        told = b3.said(headers) if parent is None else parent.sampled
        span.sampled = wanted if told is None else told
        return span

    def write(self, headers: Headers, span: Span) -> None:
        b3.write(headers, span)
        if self._config.w3c:
            w3c.write_parent(headers, span)

    def take(self, span: Span) -> None:
        self._exporter.take(span)


def _is_of_share(trace_id: str, share: FractionalPercent) -> bool:
    """As Envoy: the first eight bytes as a little-endian number. All who ask so agree."""
    number = int.from_bytes(bytes.fromhex(trace_id[:16]), "little")
    return number % share.denominator < share.numerator


def _become(span: Span, parent: Parent) -> None:
    span.span_id, span.parent_id = parent.span_id, parent.grandparent
