"""What a client says in grpc-timeout, and what becomes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.l7.durations import (
    GrpcTimeout,
    grpc_timeout_s,
    max_stream_duration_s,
    route_timeout_s,
)


def a_request(text: bytes | None) -> Request:
    pairs = [] if text is None else [(b"grpc-timeout", text)]
    return Request(b"POST", b"/", b"a", Headers.of(pairs))


@pytest.mark.parametrize(
    "text, seconds",
    [
        (b"1H", 3600.0), (b"2M", 120.0), (b"3S", 3.0), (b"4m", 0.004), (b"5u", 0.000005),
        (b"1000000n", 0.001), (b"99999999S", 99999999.0), (None, None), (b"", None), (b"1", None),
        (b"1s", None), (b"123456789m", None), (b"-1S", None), (b"1 S", None),
    ],
)  # fmt: skip
def test_the_header(text: bytes | None, seconds: float | None) -> None:
    found = grpc_timeout_s(a_request(text))
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "text, limit, seconds",
    [
        (b"5S", GrpcTimeout(10.0), 5.0),
        (b"50S", GrpcTimeout(10.0), 10.0),
        (b"50S", GrpcTimeout(0.0), 50.0),
        (None, GrpcTimeout(10.0), 10.0),  # without end, and then the cap
        (None, GrpcTimeout(0.0), 0.0),
        (b"5S", GrpcTimeout(0.0, 1.0), 4.0),
        (b"1S", GrpcTimeout(0.0, 1.0), 1.0),  # never to nothing, which would be without end
    ],
)
def test_of_a_route(text: bytes | None, limit: GrpcTimeout, seconds: float) -> None:
    assert route_timeout_s(a_request(text), limit) == pytest.approx(seconds)


def lasts(text: bytes | None, **route: Any) -> tuple[float, bytes | None]:
    entry = SimpleNamespace(**{"grpc_stream_timeout": None, "max_stream_duration_s": None, **route})
    request = a_request(text)
    stream: Any = SimpleNamespace(route=entry, request=request)
    return max_stream_duration_s(stream, 7.0), request.headers.get(b"grpc-timeout")


def test_of_a_stream() -> None:
    assert lasts(None) == (7.0, None)
    assert lasts(None, max_stream_duration_s=0.0) == (0.0, None)
    assert lasts(b"2S", max_stream_duration_s=3.0) == (3.0, b"2S")
    capped = GrpcTimeout(1.0, 0.25)
    assert lasts(b"2S", grpc_stream_timeout=capped) == (0.75, b"750m")
    assert lasts(b"100m", grpc_stream_timeout=capped) == (0.0, b"0m")
    assert lasts(None, grpc_stream_timeout=capped, max_stream_duration_s=3.0) == (3.0, None)
    day_s, told = lasts(b"99999999S", grpc_stream_timeout=GrpcTimeout(0.0))
    assert (day_s, told) == (99999999.0, b"99999999S")


def test_without_a_route_the_managers_limit_holds() -> None:
    stream: Any = SimpleNamespace(route=None, request=a_request(None))
    assert max_stream_duration_s(stream, 7.0) == 7.0
