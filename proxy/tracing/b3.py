"""B3 propagation, as Envoy's Zipkin tracer takes it: `x-b3-*`, or all in one `b3`."""

from __future__ import annotations

import re

from proxy.http.headers import Headers
from proxy.tracing.span import Parent, Span
from proxy.tracing.w3c import Unreadable

_TRACE_ID, _SPAN_ID = b"x-b3-traceid", b"x-b3-spanid"
_PARENT_ID, _SAMPLED, SINGLE = b"x-b3-parentspanid", b"x-b3-sampled", b"b3"
_TRACE = re.compile(rb"(?:[0-9a-fA-F]{16}){1,2}")
_SPAN = re.compile(rb"[0-9a-fA-F]{16}")
_ALL = re.compile(
    rb"((?:[0-9a-fA-F]{16}){1,2})-([0-9a-fA-F]{16})(?:-([01d]))?(?:-([0-9a-fA-F]{16}))?"
)
_YES = (b"1", b"true")


def said(headers: Headers) -> bool | None:
    """Whether the trace is sampled, also where nobody says which trace that is."""
    single = headers.get(SINGLE)
    if single is not None:
        if single in (b"0", b"1", b"d"):
            return single != b"0"
        found = _ALL.fullmatch(single)
        return None if found is None or found[3] is None else found[3] != b"0"
    value = headers.get(_SAMPLED)
    return None if value is None else value in _YES


def parent_of(headers: Headers) -> Parent | None:
    """Raises Unreadable."""
    single = headers.get(SINGLE)
    if single is not None:
        return _of_single(headers, single)
    trace_id, span_id = headers.get(_TRACE_ID), headers.get(_SPAN_ID)
    if trace_id is None or span_id is None:
        return None
    if not _TRACE.fullmatch(trace_id) or not _SPAN.fullmatch(span_id):
        raise Unreadable("x-b3")
    before = headers.get(_PARENT_ID) or b""
    if before and not _SPAN.fullmatch(before):
        raise Unreadable("x-b3")
    return _parent(headers, trace_id, span_id, before)


def _of_single(headers: Headers, single: bytes) -> Parent | None:
    if single in (b"0", b"1", b"d"):
        return None
    found = _ALL.fullmatch(single)
    if found is None:
        raise Unreadable("b3")
    return _parent(headers, found[1], found[2], found[4] or b"")


def _parent(headers: Headers, trace_id: bytes, span_id: bytes, before: bytes) -> Parent:
    trace, span = trace_id.decode().lower(), span_id.decode().lower()
    return Parent(trace, span, said(headers), grandparent=before.decode().lower())


def write(headers: Headers, span: Span) -> None:
    """In the form in which it came."""
    sampled = b"1" if span.sampled else b"0"
    if SINGLE in headers:
        value = f"{span.trace_id}-{span.span_id}-".encode() + sampled
        headers.set(SINGLE, value + (b"-" + span.parent_id.encode() if span.parent_id else b""))
        return
    headers.set(_TRACE_ID, span.trace_id.encode())
    headers.set(_SPAN_ID, span.span_id.encode())
    if span.parent_id:
        headers.set(_PARENT_ID, span.parent_id.encode())
    headers.set(_SAMPLED, sampled)
