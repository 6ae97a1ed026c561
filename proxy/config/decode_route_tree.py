"""Decodes `VirtualHost.matcher`: routes found by values of headers (xDS's unified matcher API)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf import any_pb2
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from proxy.config.decode_common import type_name, unpack, unsupported_type
from proxy.config.decode_matchers import string_matcher
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import Route
from proxy.config.model.routes import HeaderPredicate, RouteTree
from proxy.config.rejected import Rejected

DecodeRoute = Callable[[route_components_pb2.Route, str], Route]
_INPUT = http_inputs_pb2.HttpRequestHeaderMatchInput
_ROUTE = route_components_pb2.Route
_LIST = route_components_pb2.RouteList
_Predicate = matcher_pb2.Matcher.MatcherList.Predicate


def route_tree(message: matcher_pb2.Matcher, path: str, route: DecodeRoute) -> RouteTree:
    """`message` must be checked. route: decodes a route at a path."""
    otherwise: tuple[Route, ...] = ()
    if message.HasField("on_no_match"):
        otherwise = _action(message.on_no_match, f"{path}.on_no_match", route)
    if message.WhichOneof("matcher_type") == "matcher_list":
        where = f"{path}.matcher_list.matchers"
        rules = tuple(
            (
                _predicate(each.predicate, f"{where}[{i}].predicate"),
                _action(each.on_match, f"{where}[{i}].on_match", route),
            )
            for i, each in enumerate(message.matcher_list.matchers)
        )
        return RouteTree(rules=rules, otherwise=otherwise)
    return _tree(message.matcher_tree, f"{path}.matcher_tree", otherwise, route)


def _tree(
    message: matcher_pb2.Matcher.MatcherTree,
    path: str,
    otherwise: tuple[Route, ...],
    route: DecodeRoute,
) -> RouteTree:
    kind = message.WhichOneof("tree_type")
    if kind != "exact_match_map" and kind != "prefix_match_map":
        raise Rejected(path, "needs one of exact_match_map and prefix_match_map")
    given: Mapping[str, matcher_pb2.Matcher.OnMatch] = getattr(message, kind).map
    branches = {
        key: _action(each, f"{path}.{kind}.map[{key}]", route) for key, each in given.items()
    }
    header = _input(message.input, f"{path}.input")
    return RouteTree(header, branches, kind == "prefix_match_map", otherwise=otherwise)


def _input(message: extension_pb2.TypedExtensionConfig, path: str) -> str:
    return unpack(_INPUT, message.typed_config, f"{path}.typed_config").header_name.lower()


def _predicate(message: _Predicate, path: str) -> HeaderPredicate:
    kind = message.WhichOneof("match_type")
    if kind == "single_predicate":
        single, where = message.single_predicate, f"{path}.single_predicate"
        if single.WhichOneof("matcher") == "custom_match":
            raise Rejected(f"{where}.custom_match", UNSUPPORTED)
        text: Any = single.value_match  # its fields are those of Envoy's own StringMatcher
        string = string_matcher(text, f"{where}.value_match")
        return HeaderPredicate("single", _input(single.input, f"{where}.input"), string)
    if kind == "not_matcher":
        return HeaderPredicate("not", inner=(_predicate(message.not_matcher, f"{path}.{kind}"),))
    if kind == "and_matcher":
        each = message.and_matcher.predicate
        return HeaderPredicate("and", inner=_predicates(each, f"{path}.{kind}.predicate"))
    each = message.or_matcher.predicate
    return HeaderPredicate("or", inner=_predicates(each, f"{path}.or_matcher.predicate"))


def _predicates(messages: Iterable[_Predicate], path: str) -> tuple[HeaderPredicate, ...]:
    return tuple(_predicate(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _action(
    message: matcher_pb2.Matcher.OnMatch, path: str, route: DecodeRoute
) -> tuple[Route, ...]:
    if message.WhichOneof("on_match") != "action":
        raise Rejected(f"{path}.matcher", f"a matcher inside of a matcher is {UNSUPPORTED}")
    return _routes(message.action.typed_config, f"{path}.action.typed_config", route)


def _routes(packed: any_pb2.Any, path: str, route: DecodeRoute) -> tuple[Route, ...]:
    if type_name(packed) == _ROUTE.DESCRIPTOR.full_name:
        return (route(unpack(_ROUTE, packed, path), path),)
    if type_name(packed) != _LIST.DESCRIPTOR.full_name:
        names = (_ROUTE.DESCRIPTOR.full_name, _LIST.DESCRIPTOR.full_name)
        raise unsupported_type(packed, path, names)
    found = unpack(_LIST, packed, path).routes
    return tuple(route(each, f"{path}.routes[{i}]") for i, each in enumerate(found))
