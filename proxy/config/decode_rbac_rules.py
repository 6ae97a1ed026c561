"""Decodes the rules of role-based access control; shared by the HTTP and the network filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from envoy.config.rbac.v3 import rbac_pb2

from proxy.config.decode_common import choice, cidr, cidrs
from proxy.config.decode_matchers import header_matcher, string_matcher
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.model import rbac
from proxy.config.rejected import Rejected

Action = Literal["ALLOW", "DENY", "LOG"]
_ACTIONS: Mapping[int, Action] = {0: "ALLOW", 1: "DENY", 2: "LOG"}
_SOURCES: Mapping[int, Literal["DYNAMIC", "ROUTE"]] = {0: "DYNAMIC", 1: "ROUTE"}
_ADDRESSES: Mapping[str, rbac.AddressOf] = {
    "destination_ip": "destination",
    "source_ip": "source",
    "direct_remote_ip": "direct_remote",
    "remote_ip": "remote",
}


def rules(message: rbac_pb2.RBAC, path: str) -> rbac.Rules:
    """Policies in the order of their names: the first that applies is the one that is named."""
    action = choice(_ACTIONS, message.action, f"{path}.action")
    policies = tuple(
        _policy(name, message.policies[name], f"{path}.policies[{name}]")
        for name in sorted(message.policies)
    )
    return rbac.Rules(action, policies)


def _policy(name: str, message: rbac_pb2.Policy, path: str) -> rbac.Policy:
    permissions = _each(message.permissions, f"{path}.permissions", "rule")
    principals = _each(message.principals, f"{path}.principals", "identifier")
    return rbac.Policy(name, permissions, principals)


def _each(messages: Iterable[Any], path: str, oneof: str) -> tuple[rbac.Rule, ...]:
    return tuple(_rule(each, f"{path}[{i}]", oneof) for i, each in enumerate(messages))


def _rule(message: Any, path: str, oneof: str) -> rbac.Rule:
    """A Permission (oneof: `rule`) or a Principal (`identifier`); both have the same words."""
    kind: str = message.WhichOneof(oneof)
    inner, where = getattr(message, kind), f"{path}.{kind}"
    if kind == "any":
        return rbac.Any_()
    if kind in ("and_rules", "and_ids"):
        return rbac.All(_members(inner, where, oneof))
    if kind in ("or_rules", "or_ids"):
        return rbac.OneOf(_members(inner, where, oneof))
    if kind in ("not_rule", "not_id"):
        return rbac.Not(_rule(inner, where, oneof))
    if kind in _ADDRESSES:
        return rbac.Address(_ADDRESSES[kind], cidr(inner, where))
    return _leaf(kind, inner, where)


def _members(message: Any, path: str, oneof: str) -> tuple[rbac.Rule, ...]:
    field = "rules" if oneof == "rule" else "ids"
    return _each(getattr(message, field), f"{path}.{field}", oneof)


def _leaf(kind: str, inner: Any, path: str) -> rbac.Rule:
    if kind == "header":
        return rbac.Header(header_matcher(inner, path))
    if kind == "url_path":
        return rbac.UrlPath(string_matcher(inner.path, f"{path}.path"))
    if kind == "destination_port":
        return rbac.DestinationPort(inner, inner + 1)
    if kind == "destination_port_range":
        return _port_range(inner, path)
    if kind == "authenticated":
        named = inner.HasField("principal_name")
        where = f"{path}.principal_name"
        return rbac.Authenticated(string_matcher(inner.principal_name, where) if named else None)
    if kind == "requested_server_name":
        return rbac.ServerName(string_matcher(inner, path))
    if kind == "metadata":
        return rbac.Metadata("DYNAMIC", metadata_matcher(inner, path))
    if kind == "sourced_metadata":
        source = choice(_SOURCES, inner.metadata_source, f"{path}.metadata_source")
        where = f"{path}.metadata_matcher"
        return rbac.Metadata(source, metadata_matcher(inner.metadata_matcher, where))
    if inner.WhichOneof("matcher") == "address_match":
        ranges = cidrs(inner.address_match.ranges, f"{path}.address_match.ranges")
        return rbac.FilterState(inner.key, None, ranges)
    return rbac.FilterState(inner.key, string_matcher(inner.string_match, f"{path}.string_match"))


def _port_range(message: Any, path: str) -> rbac.Rule:
    """Envoy's bounds."""
    start, end = message.start, message.end
    if not 0 <= start <= 65536 or not 0 <= end <= 65536 or start >= end:
        raise Rejected(path, f"{start} to {end} is no range of ports")
    return rbac.DestinationPort(start, end)
