"""Decodes the rules of role-based access control; shared by the HTTP and the network filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from udpa.type.v1 import typed_struct_pb2 as old_struct_pb2
from xds.type.v3 import typed_struct_pb2

from proxy.config.decode_common import (
    choice,
    cidr,
    cidrs,
    struct,
    type_name,
    unpack,
    unsupported_type,
)
from proxy.config.decode_matchers import header_matcher, string_matcher
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.model import rbac
from proxy.config.rejected import Rejected
from proxy.http.uri_template import TemplateError, parse_template

Action = Literal["ALLOW", "DENY", "LOG"]
ACTIONS: Mapping[int, Action] = {0: "ALLOW", 1: "DENY", 2: "LOG"}
_SOURCES: Mapping[int, Literal["DYNAMIC", "ROUTE"]] = {0: "DYNAMIC", 1: "ROUTE"}
_ADDRESSES: Mapping[str, rbac.AddressOf] = {
    "destination_ip": "destination",
    "source_ip": "source",
    "direct_remote_ip": "direct_remote",
    "remote_ip": "remote",
}


EXPLAIN = "weft.rbac.Explain"
_STRUCTS: Mapping[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (typed_struct_pb2.TypedStruct, old_struct_pb2.TypedStruct)
}


def either(
    message: Any, rules_field: str, matcher_field: str, path: str
) -> rbac.Rules | rbac.Decisions | None:
    """Of an HTTP or network RBAC filter; both at once are refused, as Envoy would ignore one."""
    has_rules, has_matcher = message.HasField(rules_field), message.HasField(matcher_field)
    if has_rules and has_matcher:
        why = f"would be ignored beside `{matcher_field}`: leave one of them out"
        raise Rejected(f"{path}.{rules_field}", why)
    if has_matcher:
        from proxy.config.decode_rbac_matcher import decisions  # few configurations have one

        return decisions(getattr(message, matcher_field), f"{path}.{matcher_field}")
    if has_rules:
        return rules(getattr(message, rules_field), f"{path}.{rules_field}")
    return None


def rules(message: rbac_pb2.RBAC, path: str) -> rbac.Rules:
    """Policies in the order of their names: the first that applies is the one that is named."""
    action = choice(ACTIONS, message.action, f"{path}.action")
    policies = tuple(
        _policy(name, message.policies[name], f"{path}.policies[{name}]")
        for name in sorted(message.policies)
    )
    where = f"{path}.audit_logging_options"
    return rbac.Rules(action, policies, _explanation(message.audit_logging_options, where))


def _explanation(message: Any, path: str) -> rbac.Explanation:
    """Weft's own logger says where policies stand. Others are passed over where Envoy, too, may
    not know them; Weft has none."""
    found = rbac.Explanation()
    for i, each in enumerate(message.logger_configs):
        packed, where = each.audit_logger.typed_config, f"{path}.logger_configs[{i}].audit_logger"
        if type_name(packed) in _STRUCTS:
            inner = _STRUCTS[type_name(packed)].FromString(packed.value)
            if inner.type_url.rpartition("/")[2] == EXPLAIN:
                found = _read_explanation(struct(inner.value), f"{where}.typed_config.value")
                continue
        if not each.is_optional:
            raise unsupported_type(packed, f"{where}.typed_config", (EXPLAIN,))
    return found


def _read_explanation(value: Mapping[str, Any], path: str) -> rbac.Explanation:
    tells, sources, none = value.get("body", False), value.get("sources", {}), value.get("none", "")
    if unknown := sorted(value.keys() - {"body", "sources", "none"}):
        raise Rejected(f"{path}.{unknown[0]}", "is no field of weft.rbac.Explain")
    texts = isinstance(sources, dict) and all(isinstance(one, str) for one in sources.values())
    if not isinstance(tells, bool) or not isinstance(none, str) or not texts:
        raise Rejected(path, "wants body: a boolean, sources: texts by policy, none: a text")
    return rbac.Explanation(tells, sources, none)


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
    if kind == "uri_template":
        return _uri_template(inner, path)
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


def _uri_template(message: Any, path: str) -> rbac.Rule:
    where = f"{path}.typed_config"
    kind = uri_template_match_pb2.UriTemplateMatchConfig
    template = unpack(kind, message.typed_config, where).path_template
    try:
        parse_template(template)
    except TemplateError as error:
        raise Rejected(f"{where}.path_template", str(error)) from None
    return rbac.UriTemplate(template)


def _port_range(message: Any, path: str) -> rbac.Rule:
    """Envoy's bounds."""
    start, end = message.start, message.end
    if not 0 <= start <= 65536 or not 0 <= end <= 65536 or start >= end:
        raise Rejected(path, f"{start} to {end} is no range of ports")
    return rbac.DestinationPort(start, end)
