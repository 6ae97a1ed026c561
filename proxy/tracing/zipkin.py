"""Spans as Zipkin's JSON (its API v2), and how they are posted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.config.model.tracing import ZipkinConfig
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome
from proxy.http.message import Request
from proxy.tracing.span import Span

TIMEOUT_S = 5.0
_MICROS = 1_000_000
_OK = range(200, 300)
_ENDS: Mapping[str, str] = {"SERVER": "ss", "CLIENT": "cr"}


class ZipkinEncoder:
    """local: of this proxy, in Zipkin's words."""

    kind = "zipkin"
    min_spans = 5
    interval_ms = 5000

    def __init__(self, config: ZipkinConfig, service: str, address: str) -> None:
        self._config = config
        family = "ipv6" if ":" in address else "ipv4"
        self._local = {family: address, "port": 0, "serviceName": service}

    def inquiry(self, spans: Sequence[Span]) -> Inquiry:
        config = self._config
        body = json.dumps([self._span(one) for one in spans]).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        host = (config.hostname or config.cluster).encode()
        head = Request(b"POST", config.path.encode(), host, Headers.of(headers), len(body))
        return Inquiry(config.cluster, head, body, TIMEOUT_S)

    def taken(self, outcome: Outcome) -> bool:
        return not outcome.failure and outcome.status in _OK

    def _span(self, span: Span) -> dict[str, Any]:
        events = [*span.events, (span.ended, _ENDS[span.kind])]
        found: dict[str, Any] = {
            "traceId": span.trace_id,
            "id": span.span_id,
            "name": span.name,
            "kind": span.kind,
            "timestamp": int(span.started * _MICROS),
            "duration": int((span.ended - span.started) * _MICROS),
            "localEndpoint": self._local,
            "tags": span.tags,
            "annotations": [
                {"timestamp": int(when * _MICROS), "value": what} for when, what in events
            ],
        }
        if span.parent_id:
            found["parentId"] = span.parent_id
        if span.shared:
            found["shared"] = True
        return found
