"""Decodes `HashPolicy`: what of a request decides its host, for balancers that hash."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_rewrite import regex_rewrite
from proxy.config.model import HashPolicy

_Message = route_components_pb2.RouteAction.HashPolicy


def hash_policies(messages: Iterable[_Message], path: str) -> tuple[HashPolicy, ...]:
    found = (_policy(each, f"{path}[{i}]") for i, each in enumerate(messages))
    return tuple(each for each in found if each is not None)


def _policy(message: _Message, path: str) -> HashPolicy | None:
    """None: connection properties of which none is asked for."""
    kind = message.WhichOneof("policy_specifier")
    terminal = message.terminal
    if kind == "header":
        name = message.header.header_name.lower()
        if not message.header.HasField("regex_rewrite"):
            return HashPolicy("header", name, terminal)
        rewrite = regex_rewrite(message.header.regex_rewrite, f"{path}.header.regex_rewrite")
        return HashPolicy("header", name, terminal, rewrite)
    if kind == "cookie":
        return _cookie(message.cookie, terminal)
    if kind == "connection_properties":
        wanted = message.connection_properties.source_ip
        return HashPolicy("source_ip", terminal=terminal) if wanted else None
    if kind == "query_parameter":
        return HashPolicy("query_parameter", message.query_parameter.name, terminal)
    return HashPolicy("filter_state", message.filter_state.key, terminal)


def _cookie(message: _Message.Cookie, terminal: bool) -> HashPolicy:
    return HashPolicy(
        "cookie",
        message.name,
        terminal,
        ttl_s=message.ttl.seconds if message.HasField("ttl") else None,
        path=message.path,
        attributes=tuple((each.name, each.value) for each in message.attributes),
    )
