"""What Envoy's http_inspector says of the first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.http_preface import HTTP2_PREFACE, detect


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "need_more"),
        (b"GET / HTTP/1.1\r\n", "http/1.1"),
        (b"GET / HTTP/1.0\n", "http/1.0"),
        (b"\r\n\r\nOPTIONS * HTTP/1.1\r\nhost: a\r\n", "http/1.1"),
        (b"GET / HTTP/1.1\r", "need_more"),
        (b"M-SEARCH", "need_more"),
        (b"GET / HTTP/2.0\r\n", "not_http"),
        (b"GET /\r\n", "not_http"),
        (HTTP2_PREFACE, "h2c"),
        (HTTP2_PREFACE[:20], "need_more"),
        (b"PRI * HTTP/2.0\r\n\r\nXX", "not_http"),
        (b"\x16\x03\x01", "not_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_http"),
        (b"A" * 33, "not_http"),
        (b"GET /" + b"a" * 9000, "not_http"),
    ],
)
def test_detect(data: bytes, expected: str) -> None:
    assert detect(data) == expected


@given(st.binary(max_size=100))
def test_never_raises(data: bytes) -> None:
    detect(data)
