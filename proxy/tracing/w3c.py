"""W3C Trace Context: `traceparent` and `tracestate`, as Envoy's OpenTelemetry tracer takes them."""

from __future__ import annotations

import re

from proxy.http.headers import Edit, Headers
from proxy.tracing.span import Parent, Span

# Section 3.2.2: version, trace id, parent id, flags. Versions to come may not be longer here.
_TRACEPARENT = re.compile(rb"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-([0-9a-fA-F]{16})-([0-9a-fA-F]{2})")
_HEADER, _STATE = b"traceparent", b"tracestate"
_SAMPLED = 1
_WRITE = Edit(names=(_HEADER, _STATE))


class Unreadable(ValueError):
    """There is a `traceparent`, and it can't be read."""


def parent_of(headers: Headers) -> Parent | None:
    """Raises Unreadable: whose trace it is can't be known, so it is passed on untouched."""
    value = headers.get(_HEADER)
    if value is None:
        return None
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        raise Unreadable("traceparent")
    trace_id, span_id, flags = (part.decode().lower() for part in found.groups())
    if not trace_id.strip("0") or not span_id.strip("0"):
        raise Unreadable("traceparent")
    sampled = bool(int(flags, 16) & _SAMPLED)
    return Parent(trace_id, span_id, sampled, headers.get(_STATE) or b"")


def write(headers: Headers, span: Span) -> None:
    _WRITE.apply(headers, (_value(span), span.state))


def write_parent(headers: Headers, span: Span) -> None:
    """For who reads it beside B3, whose traces may have shorter identities."""
    headers.set(_HEADER, _value(span))


def _value(span: Span) -> bytes:
    flags = "01" if span.sampled else "00"
    return f"00-{span.trace_id:0>32}-{span.span_id}-{flags}".encode()
