"""Sessions that stay with a host: how hosts are written, and what strangers may bring."""

from __future__ import annotations

from base64 import b64decode, b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.filters import DECODERS
from proxy.config.filters.decode_stateful_session import TYPE_URL
from proxy.config.model.stateful_session import (
    CookieState,
    EnvelopeState,
    HeaderState,
    StatefulSession,
)
from proxy.config.rejected import Rejected
from proxy.filters.api import Hooks
from proxy.filters.session_host import cookie_of, host_in_cookie
from proxy.filters.stateful_session import build
from proxy.http.headers import Headers
from proxy.http.message import Response
from tests.support.filters import Clock, FakeStream, context, request

NOW = 1_700_000_000


def _cookie_class() -> Any:
    """`envoy.Cookie`, read by Google's own code."""
    file = descriptor_pb2.FileDescriptorProto(name="cookie.proto", package="envoy", syntax="proto3")
    message = file.message_type.add(name="Cookie")
    for name, number, kind in (("address", 1, "STRING"), ("expires", 2, "UINT64")):
        field = message.field.add(name=name, number=number, label="LABEL_OPTIONAL")
        field.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("envoy.Cookie"))


COOKIE = _cookie_class()


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(0, 2**63))
def test_what_is_written_protobuf_reads(address: str, expires: int) -> None:
    read = COOKIE.FromString(b64decode(cookie_of(address, expires)))
    assert (read.address, read.expires) == (address, expires)
    assert host_in_cookie(cookie_of(address, expires), expires) == address


@given(st.binary())
def test_what_protobuf_reads_is_read_the_same(data: bytes) -> None:
    try:
        read = COOKIE.FromString(data)
        wanted = "" if read.expires and read.expires < NOW else read.address
    except Exception:  # DecodeError: it is an address as older proxies wrote it
        wanted = data.decode("latin-1")
    if b"\x0b" in data or b"\x0c" in data:  # groups, which nobody writes
        return
    assert host_in_cookie(b64encode(data), NOW) == wanted


@pytest.mark.parametrize(
    ("cookie", "host"),
    [
        (b64encode(b"127.0.0.1:18080"), "127.0.0.1:18080"),
        (b64encode(b"10.0.0.1:8080"), ""),  # by chance a message of other fields, for Envoy too
        (b"no base64!", ""),
        (b"", ""),
        (cookie_of("a:1", NOW), "a:1"),
        (cookie_of("a:1", NOW - 1), ""),
        (b64encode(b"\x0a\x03a:1\x18\x01"), "a:1"),
    ],
)
def test_the_host_in_a_cookie(cookie: bytes, host: str) -> None:
    assert host_in_cookie(cookie, NOW + 0.9) == host


def hooks(config: StatefulSession) -> Hooks:
    found = build(config, context(Clock())).for_route(())
    assert found is not None and found.on_request is not None and found.on_response is not None
    return found


def asked(found: Hooks, stream: FakeStream) -> None:
    assert found.on_request is not None
    assert found.on_request(stream) is None


def answered(found: Hooks, stream: FakeStream, *headers: tuple[bytes, bytes]) -> Response:
    response = Response(200, Headers.of(headers))
    assert found.on_response is not None
    assert found.on_response(stream, response) is None
    return response


def test_an_envelope_brings_no_line_ends_into_a_header() -> None:
    found = hooks(StatefulSession(EnvelopeState("Session")))
    for smuggled in (b"a\r\nx-admin: 1", b"a\0", b"\n"):
        text = b64encode(b"10.0.0.1:1").decode() + ";UV:" + b64encode(smuggled).decode()
        stream = FakeStream(request(session=text))
        asked(found, stream)
        assert stream.request.headers.get(b"session") == text.encode()
        assert stream.preferred is None


def test_an_envelope_is_opened_and_closed() -> None:
    found = hooks(StatefulSession(EnvelopeState("Session"), strict=True))
    stream = FakeStream(request(session="MTA6MQ==;UV:bWluZQ=="))
    asked(found, stream)
    assert stream.request.headers.get(b"session") == b"mine"
    assert stream.preferred == ("10:1", True)
    stream.host = SimpleNamespace(text="10:1")
    response = answered(found, stream, (b"session", b"mine"))
    assert response.headers.get(b"session") == b"MTA6MQ==;UV:bWluZQ=="


def test_a_cookie_says_when_it_ends() -> None:
    found = hooks(StatefulSession(CookieState("who", "/", 60)))
    stream = FakeStream(request())
    asked(found, stream)
    assert stream.preferred is None
    stream.host = SimpleNamespace(text="10.0.0.1:80")
    (cookie,) = answered(found, stream).headers.all(b"set-cookie")
    assert cookie.endswith(b"; Max-Age=60; Path=/; HttpOnly")
    value = cookie.split(b'"')[1]
    assert host_in_cookie(value, NOW + 1000 + 60) == "10.0.0.1:80"
    assert host_in_cookie(value, NOW + 1000 + 61) == ""


def test_who_was_served_by_its_own_host_is_told_nothing() -> None:
    found = hooks(StatefulSession(HeaderState("X-Session")))
    stream = FakeStream(request(x_session=b64encode(b"10.0.0.1:80").decode()))
    asked(found, stream)
    stream.host = SimpleNamespace(text="10.0.0.1:80")
    assert len(answered(found, stream).headers) == 0


def test_what_is_no_session_is_refused() -> None:
    message = stateful_session_pb2.StatefulSession()
    assert DECODERS[TYPE_URL](message.SerializeToString(), "c") == StatefulSession()
    message.session_state.name = "any"
    message.session_state.typed_config.type_url = "type.googleapis.com/a.B"
    with pytest.raises(Rejected, match=r"c\.session_state\.typed_config: type a\.B"):
        DECODERS[TYPE_URL](message.SerializeToString(), "c")
