"""Decodes matchers of strings, headers and query parameters, old spellings included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import filter_state_pb2, string_pb2

from proxy.config.decode_common import cidrs, regex
from proxy.config.model import (
    FilterStateMatcher,
    HeaderMatcher,
    QueryParameterMatcher,
    StringMatcher,
)
from proxy.config.rejected import Rejected

_OLD_SPELLINGS: dict[str, Literal["exact", "prefix", "suffix", "contains"]] = {
    "exact_match": "exact",
    "prefix_match": "prefix",
    "suffix_match": "suffix",
    "contains_match": "contains",
}


def string_matcher(message: string_pb2.StringMatcher, path: str) -> StringMatcher:
    kind = message.WhichOneof("match_pattern")
    if kind == "safe_regex":
        # Envoy: ignore_case has no effect for a safe_regex.
        return StringMatcher("regex", regex(message.safe_regex.regex, f"{path}.safe_regex"))
    if kind == "exact" or kind == "prefix" or kind == "suffix" or kind == "contains":
        return StringMatcher(kind, getattr(message, kind), message.ignore_case)
    raise Rejected(path, "one of the fields of `match_pattern` must be set")


def header_matchers(
    messages: Iterable[route_components_pb2.HeaderMatcher], path: str
) -> tuple[HeaderMatcher, ...]:
    return tuple(header_matcher(each, f"{path}[{i}]") for i, each in enumerate(messages))


def header_matcher(message: route_components_pb2.HeaderMatcher, path: str) -> HeaderMatcher:
    """Without a specifier a header must only be there, as Envoy says."""
    name, invert = message.name.lower(), message.invert_match
    missing = message.treat_missing_header_as_empty
    kind = message.WhichOneof("header_match_specifier")
    if kind == "range_match":
        span = (message.range_match.start, message.range_match.end)
        return HeaderMatcher(name, range=span, invert=invert, treat_missing_as_empty=missing)
    if kind is None or kind == "present_match":
        present = message.present_match if kind else True
        return HeaderMatcher(name, present=present, invert=invert, treat_missing_as_empty=missing)
    string = _header_string(message, kind, path)
    return HeaderMatcher(name, string, invert=invert, treat_missing_as_empty=missing)


def _header_string(
    message: route_components_pb2.HeaderMatcher, kind: str, path: str
) -> StringMatcher:
    if kind == "string_match":
        return string_matcher(message.string_match, f"{path}.string_match")
    if kind == "safe_regex_match":
        found = regex(message.safe_regex_match.regex, f"{path}.safe_regex_match")
        return StringMatcher("regex", found)
    return StringMatcher(_OLD_SPELLINGS[kind], getattr(message, kind))


def query_matchers(
    messages: Iterable[route_components_pb2.QueryParameterMatcher], path: str
) -> tuple[QueryParameterMatcher, ...]:
    return tuple(_query_matcher(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _query_matcher(
    message: route_components_pb2.QueryParameterMatcher, path: str
) -> QueryParameterMatcher:
    kind = message.WhichOneof("query_parameter_match_specifier")
    if kind == "string_match":
        string = string_matcher(message.string_match, f"{path}.string_match")
        return QueryParameterMatcher(message.name, string)
    return QueryParameterMatcher(message.name, present=message.present_match if kind else True)


def filter_state_matchers(
    messages: Iterable[filter_state_pb2.FilterStateMatcher], path: str
) -> tuple[FilterStateMatcher, ...]:
    return tuple(_filter_state(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _filter_state(message: filter_state_pb2.FilterStateMatcher, path: str) -> FilterStateMatcher:
    """PGV has seen to it that one of the matchers is set."""
    if message.WhichOneof("matcher") == "string_match":
        string = string_matcher(message.string_match, f"{path}.string_match")
        return FilterStateMatcher(message.key, string)
    where = f"{path}.address_match.ranges"
    # `xds.core.v3.CidrRange` has the fields of Envoy's own.
    ranges: Iterable[Any] = message.address_match.ranges
    return FilterStateMatcher(message.key, ranges=cidrs(ranges, where))
