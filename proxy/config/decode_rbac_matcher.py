"""Decodes rules of access control that are written as a list of matchers (xDS's matcher API)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2 as inputs_pb2
from envoy.extensions.matching.input_matchers.ip.v3 import ip_pb2
from envoy.extensions.matching.input_matchers.metadata.v3 import metadata_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from envoy.type.matcher.v3 import metadata_pb2 as envoy_metadata_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from proxy.config.decode_common import choice, cidrs, type_name, unpack, unsupported_type
from proxy.config.decode_matchers import string_matcher
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.decode_rbac_rules import ACTIONS
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import StringMatcher, rbac
from proxy.config.rejected import Rejected

_Predicate = matcher_pb2.Matcher.MatcherList.Predicate
_Input = extension_pb2.TypedExtensionConfig
_HEADER = http_inputs_pb2.HttpRequestHeaderMatchInput
_METADATA = inputs_pb2.DynamicMetadataInput
_IPS: Mapping[Any, rbac.AddressOf] = {
    inputs_pb2.SourceIPInput: "remote",
    inputs_pb2.DirectSourceIPInput: "direct_remote",
    inputs_pb2.DestinationIPInput: "destination",
}
_TEXTS = (
    _HEADER,
    inputs_pb2.SourcePortInput,
    inputs_pb2.DestinationPortInput,
    inputs_pb2.ServerNameInput,
    inputs_pb2.FilterStateInput,
)
_INPUTS: Mapping[str, Any] = {
    kind.DESCRIPTOR.full_name: kind for kind in (*_TEXTS, *_IPS, _METADATA)
}


def decisions(message: matcher_pb2.Matcher, path: str) -> rbac.Decisions:
    """`message` must be checked."""
    if message.WhichOneof("matcher_type") != "matcher_list":
        raise Rejected(f"{path}.matcher_tree", f"is {UNSUPPORTED} here; use matcher_list")
    where = f"{path}.matcher_list.matchers"
    listed = tuple(
        (
            _predicate(each.predicate, f"{where}[{i}].predicate"),
            _decision(each.on_match, f"{where}[{i}].on_match"),
        )
        for i, each in enumerate(message.matcher_list.matchers)
    )
    otherwise = None
    if message.HasField("on_no_match"):
        otherwise = _decision(message.on_no_match, f"{path}.on_no_match")
    return rbac.Decisions(listed, otherwise)


def _decision(message: matcher_pb2.Matcher.OnMatch, path: str) -> rbac.Decision:
    if message.WhichOneof("on_match") != "action":
        raise Rejected(f"{path}.matcher", f"a matcher inside of a matcher is {UNSUPPORTED}")
    where = f"{path}.action.typed_config"
    action = unpack(rbac_pb2.Action, message.action.typed_config, where)
    return rbac.Decision(action.name, choice(ACTIONS, action.action, f"{where}.action"))


def _predicate(message: _Predicate, path: str) -> rbac.Rule:
    kind = message.WhichOneof("match_type")
    if kind == "single_predicate":
        return _single(message.single_predicate, f"{path}.{kind}")
    if kind == "not_matcher":
        return rbac.Not(_predicate(message.not_matcher, f"{path}.{kind}"))
    if kind == "and_matcher":
        return rbac.All(_each(message.and_matcher.predicate, f"{path}.{kind}.predicate"))
    return rbac.OneOf(_each(message.or_matcher.predicate, f"{path}.or_matcher.predicate"))


def _each(messages: Iterable[_Predicate], path: str) -> tuple[rbac.Rule, ...]:
    return tuple(_predicate(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _single(message: _Predicate.SinglePredicate, path: str) -> rbac.Rule:
    packed, where = message.input.typed_config, f"{path}.input.typed_config"
    kind = _INPUTS.get(type_name(packed))
    if kind is None:
        raise unsupported_type(packed, where, _INPUTS)
    found: Any = unpack(kind, packed, where)
    custom = message.WhichOneof("matcher") == "custom_match"
    if kind in _IPS:
        return _address(_IPS[kind], message.custom_match, f"{path}.custom_match")
    if kind is _METADATA:
        return _metadata(found, message.custom_match, f"{path}.custom_match")
    if custom:
        packed = message.custom_match.typed_config
        raise unsupported_type(packed, f"{path}.custom_match.typed_config", ("value_match",))
    text: Any = message.value_match  # its fields are those of Envoy's own StringMatcher
    return _text(found, string_matcher(text, f"{path}.value_match"))


def _text(found: Any, matcher: StringMatcher) -> rbac.Rule:
    if isinstance(found, _HEADER):
        return rbac.HeaderText(found.header_name.lower(), matcher)
    if isinstance(found, inputs_pb2.ServerNameInput):
        return rbac.ServerName(matcher)
    if isinstance(found, inputs_pb2.FilterStateInput):
        return rbac.FilterState(found.key, matcher)
    source = isinstance(found, inputs_pb2.SourcePortInput)
    return rbac.PortText("source" if source else "destination", matcher)


def _address(of: rbac.AddressOf, message: _Input, path: str) -> rbac.Rule:
    where = f"{path}.typed_config"
    ranges = unpack(ip_pb2.Ip, message.typed_config, where).cidr_ranges
    return rbac.OneOf(
        tuple(rbac.Address(of, each) for each in cidrs(ranges, f"{where}.cidr_ranges"))
    )


def _metadata(found: inputs_pb2.DynamicMetadataInput, message: _Input, path: str) -> rbac.Rule:
    """The input has the place and the matcher the value; Envoy's other message has both."""
    inner = unpack(metadata_pb2.Metadata, message.typed_config, f"{path}.typed_config")
    both = envoy_metadata_pb2.MetadataMatcher(
        filter=found.filter, value=inner.value, invert=inner.invert
    )
    for segment in found.path:
        both.path.add(key=segment.key)
    return rbac.Metadata("DYNAMIC", metadata_matcher(both, path))
