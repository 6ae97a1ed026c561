"""How long a stream may last by what its client says in `grpc-timeout`, and by its route."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.http.message import Request

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

GRPC_TIMEOUT = b"grpc-timeout"
# gRPC over HTTP/2, "Requests": at most eight digits and a unit.
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_DIGITS = 99_999_999


@dataclass(frozen=True, slots=True)
class GrpcTimeout:
    """max_s: 0 is no cap. offset_s: taken off, so that we answer before the client leaves."""

    max_s: float
    offset_s: float = 0.0


def grpc_timeout_s(request: Request) -> float | None:
    """What the header says; None if it is not there or says nothing."""
    text = request.headers.get(GRPC_TIMEOUT)
    found = None if text is None else _TIMEOUT.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS_S[found[2]]


def route_timeout_s(request: Request, limit: GrpcTimeout) -> float:
    """`max_grpc_timeout`: the header's, without end if it is not there, at most the cap."""
    found = grpc_timeout_s(request) or 0.0
    if limit.offset_s < found:
        found -= limit.offset_s
    if limit.max_s and (not found or found > limit.max_s):
        return limit.max_s
    return found


def max_stream_duration_s(stream: Stream, otherwise_s: float) -> float:
    """How long the stream may last from its beginning; 0 is without end. otherwise_s: the
    connection manager's. A `grpc-timeout` is made to say what is left of it (Envoy)."""
    entry = stream.route
    if entry is None:
        return otherwise_s
    limit = entry.grpc_stream_timeout
    told = None if limit is None else grpc_timeout_s(stream.request)
    if told is None or limit is None:
        own = entry.max_stream_duration_s
        return otherwise_s if own is None else own
    found = min(told, limit.max_s) if limit.max_s else told
    found = max(found - limit.offset_s, 0.0)
    stream.request.headers.set(GRPC_TIMEOUT, _text(found))
    return found


def _text(timeout_s: float) -> bytes:
    """In the finest unit that fits, from milliseconds on."""
    number = round(timeout_s * 1000)
    for unit, step in ((b"m", 1000), (b"S", 60), (b"M", 60)):
        if number <= _MAX_DIGITS:
            return b"%d%b" % (number, unit)
        number //= step
    return b"%dH" % number
