"""Heads and chunks as they are written, and the bounds of what is remembered."""

from __future__ import annotations

import pytest

from proxy.http.h1 import chunk, request_head, response_head, target
from proxy.http.h1 import plan as plans
from proxy.http.headers import Headers, shape_of
from proxy.http.message import CHUNKED, Request, Response
from tests.support.codec import forget_plans, read_requests, read_responses


def a_request(method: bytes, length: int, *pairs: tuple[bytes, bytes]) -> Request:
    return Request(method, b"/p%s?q", b"a:80", Headers.of(pairs), length)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
@pytest.mark.parametrize("length", [0, 3, CHUNKED])
def test_what_is_written_is_read(method: bytes, length: int) -> None:
    pairs = [(b"X-Spelled", b"1%s"), (b"y", b"")]
    if length > 0:
        pairs.append((b"content-length", b"%d" % length))
    body = {0: b"", 3: b"abc", CHUNKED: chunk(b"abc") + b"0\r\n\r\n"}[length]
    raw = request_head(a_request(method, length, *pairs)) + body
    assert b"X-Spelled: 1%s\r\n" in raw  # names keep their spelling from h1 to h1
    event = read_requests([raw])[0]
    assert event[1:4] == (method, b"/p%s?q", b"a:80")
    got = [pair for pair in event[4] if pair[0] != b"content-length"]
    assert got == [(b"x-spelled", b"1%s"), (b"y", b"")]
    assert event[5] == (b"abc" if length else b"")


@pytest.mark.parametrize("status", [200, 404, 599])
def test_responses_are_read(status: int) -> None:
    head = response_head(Response(status, Headers.of([(b"A", b"1%d")])), b"content-length: 0\r\n")
    event = read_responses([head])[0]
    assert event == ("response", status, [(b"a", b"1%d"), (b"content-length", b"0")], b"")


def test_chunks() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""  # an empty chunk would be the last one


def test_plans_are_bounded() -> None:
    forget_plans()
    for at in range(5 * plans.MAX_COMPILED):
        shape = shape_of((b"host", b"p%d" % at))
        for _ in range(plans.COMPILE_AFTER_USES):
            plans.request_plans.plan(shape)
        compiled = sum(one.match is not None for one in plans.request_plans._plans.values())
        assert compiled <= plans.MAX_COMPILED or at % 100
        assert len(plans.request_plans._plans) <= 4 * plans.MAX_COMPILED
    forget_plans()


def test_known_authorities_are_bounded() -> None:
    for at in range(3 * target.MAX_KNOWN):
        target.check_authority(b"host-%d" % at)
        assert len(target.known_authorities) <= target.MAX_KNOWN
