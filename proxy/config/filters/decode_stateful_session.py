"""Decodes `envoy.filters.http.stateful_session`, with what routes say to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2
from envoy.extensions.http.stateful_session.envelope.v3 import envelope_pb2
from envoy.extensions.http.stateful_session.header.v3 import header_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import PREFIX, parse, type_name, unpack, unsupported_type
from proxy.config.model.stateful_session import (
    CookieState,
    EnvelopeState,
    HeaderState,
    SessionState,
    StatefulSession,
)
from proxy.config.rejected import Rejected, at

_CONFIG = stateful_session_pb2.StatefulSession
_PER_ROUTE = stateful_session_pb2.StatefulSessionPerRoute
TYPE_URL = PREFIX + _CONFIG.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + _PER_ROUTE.DESCRIPTOR.full_name


def decode(value: bytes, path: str) -> StatefulSession:
    return _config(parse(_CONFIG, value, path), path)


def decode_per_route(value: bytes, path: str) -> StatefulSession:
    """Envoy counts nothing for a route's own configuration."""
    message = parse(_PER_ROUTE, value, path)
    if message.WhichOneof("override") == "disabled":
        return StatefulSession()
    return replace(_config(message.stateful_session, at(path, "stateful_session")), stat_prefix="")


def _config(message: stateful_session_pb2.StatefulSession, path: str) -> StatefulSession:
    state = None
    if message.HasField("session_state"):
        packed, where = message.session_state.typed_config, at(path, "session_state.typed_config")
        decoder = _STATES.get(type_name(packed))
        if decoder is None:
            raise unsupported_type(packed, where, _STATES)
        state = decoder(packed, where)
    return StatefulSession(state, message.strict, message.stat_prefix)


def _cookie(packed: any_pb2.Any, path: str) -> SessionState:
    message = unpack(cookie_pb2.CookieBasedSessionState, packed, path)
    if not message.HasField("cookie"):
        raise Rejected(at(path, "cookie"), "is required")
    cookie = message.cookie
    attributes = tuple((one.name, one.value) for one in cookie.attributes)
    return CookieState(cookie.name, cookie.path, cookie.ttl.seconds, attributes)


def _header(packed: any_pb2.Any, path: str) -> SessionState:
    return HeaderState(unpack(header_pb2.HeaderBasedSessionState, packed, path).name)


def _envelope(packed: any_pb2.Any, path: str) -> SessionState:
    message = unpack(envelope_pb2.EnvelopeSessionState, packed, path)
    return EnvelopeState(message.header.name)


_STATES: Mapping[str, Callable[[any_pb2.Any, str], SessionState]] = {
    cookie_pb2.CookieBasedSessionState.DESCRIPTOR.full_name: _cookie,
    header_pb2.HeaderBasedSessionState.DESCRIPTOR.full_name: _header,
    envelope_pb2.EnvelopeSessionState.DESCRIPTOR.full_name: _envelope,
}
