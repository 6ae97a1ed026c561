"""Istio's HTTP match and header vocabulary in Envoy's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
)
from envoy.config.route.v3.route_components_pb2 import RouteMatch as EnvoyMatch
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.emit import facts
from controlplane.emit.words import string_matcher
from controlplane.mesh.model import ClaimMatch, HeaderOperations, RouteMatch, StringMatch
from controlplane.mesh.policy import Fact, Match

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")
"""RFC 9110 section 9.2.2, without CONNECT, which is not idempotent."""


def route_match(match: RouteMatch, idempotent_only: bool = False) -> EnvoyMatch:
    """One alternative of a rule. Every given part must match."""
    result = EnvoyMatch(
        headers=_headers(match),
        query_parameters=_query(match.query_params),
        dynamic_metadata=[_claim(claim) for claim in match.claims],
    )
    if idempotent_only:
        regex = RegexMatcher(regex="|".join(IDEMPOTENT))
        result.headers.add(name=":method", string_match=StringMatcher(safe_regex=regex))
    _set_path(result, match)
    return result


def _set_path(result: EnvoyMatch, match: RouteMatch) -> None:
    uri = match.uri
    if uri is None:
        result.prefix = "/"
    elif uri.kind == "exact":
        result.path = uri.value
    elif uri.kind == "prefix" and match.whole_segments:
        result.path_separated_prefix = uri.value
    elif uri.kind == "prefix":
        result.prefix = uri.value
    else:
        result.safe_regex.regex = uri.value
    if match.ignore_uri_case and uri is not None and uri.kind != "regex":
        result.case_sensitive.value = False


def _headers(match: RouteMatch) -> list[HeaderMatcher]:
    matchers = [header(name, m) for name, m in sorted(match.headers.items())]
    matchers += [_without(name, m) for name, m in sorted(match.without_headers.items())]
    if match.method is not None:
        matchers.append(header(":method", match.method))
    if match.scheme is not None:
        matchers.append(header(":scheme", match.scheme))
    if match.authority is not None:
        matchers.append(header(":authority", match.authority))
    return matchers


def header(name: str, match: StringMatch | None, invert: bool = False) -> HeaderMatcher:
    if match is None:
        return HeaderMatcher(name=name, present_match=True, invert_match=invert)
    matcher = string_matcher(match)
    return HeaderMatcher(name=name, string_match=matcher, invert_match=invert)


def _without(name: str, match: StringMatch | None) -> HeaderMatcher:
    """A request that has no such header is without that value (Istio), which Envoy must be told."""
    made = header(name, match, invert=True)
    made.treat_missing_header_as_empty = match is not None
    return made


def _query(params: Mapping[str, StringMatch | None]) -> list[QueryParameterMatcher]:
    return [
        QueryParameterMatcher(name=name, present_match=True)
        if match is None
        else QueryParameterMatcher(name=name, string_match=string_matcher(match))
        for name, match in sorted(params.items())
    ]


def _claim(claim: ClaimMatch) -> MetadataMatcher:
    """What jwt_authn left of the token (see emit.jwt)."""
    wanted = claim.match
    asked = Match(wanted.kind, wanted.value) if wanted is not None else Match("present")
    matcher = facts.metadata((Fact("claim", asked, claim.path),))
    matcher.invert = claim.invert
    return matcher


# --------------------------------------------------------------------------- header operations


def host_of(operations: HeaderOperations) -> str:
    """The value of a `set` of Host, which is a host rewrite and no header operation."""
    return next((v for n, v in operations.set.items() if _is_host(n)), "")


def header_options(operations: HeaderOperations) -> list[HeaderValueOption]:
    """`set` overwrites, `add` appends."""
    return [
        *_options(operations.set, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        *_options(operations.add, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
    ]


def _options(
    headers: Mapping[str, str], action: HeaderValueOption.HeaderAppendAction
) -> Iterable[HeaderValueOption]:
    for name, value in sorted(headers.items()):
        if not _is_host(name):
            header = HeaderValue(key=name, value=value)
            yield HeaderValueOption(header=header, append_action=action)


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")
