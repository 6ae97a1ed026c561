"""Matches of HTTP rules, as one gateway (or `mesh`, all sidecars) sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from controlplane.kinds.attributes import routing_claim
from controlplane.kinds.http_match import HttpMatch, PresenceMatch
from controlplane.kinds.http_rule import HttpRoute
from controlplane.mesh.model import ClaimMatch, RouteMatch, StringMatch


def route_matches(route: HttpRoute, gateway: str, namespace: str) -> tuple[RouteMatch, ...]:
    """Those that `gateway` ('mesh', or 'namespace/name') takes; a rule without `match` takes every
    request. namespace: the VirtualService's, in which a gateway's short name is meant."""
    if not route.match:
        return (RouteMatch(),)
    return tuple(_match(match) for match in route.match if is_for(match, gateway, namespace))


def is_for(match: HttpMatch, gateway: str, namespace: str) -> bool:
    return not match.gateways or gateway in {full_name(g, namespace) for g in match.gateways}


def full_name(gateway: str, namespace: str) -> str:
    """'mesh', or 'namespace/name' of a gateway as a VirtualService writes it: alone, with its
    namespace, or in the old way as name.namespace.svc..."""
    if gateway == "mesh" or "/" in gateway:
        return gateway
    name, _, rest = gateway.partition(".")
    return f"{rest.partition('.')[0] or namespace}/{name}"


def _match(match: HttpMatch) -> RouteMatch:
    return RouteMatch(
        uri=string_match(match.uri),
        ignore_uri_case=match.ignore_uri_case,
        scheme=string_match(match.scheme),
        method=string_match(match.method),
        authority=string_match(match.authority),
        headers=_strings(_plain(match.headers), fold_case=True),
        without_headers=_strings(_plain(match.without_headers), fold_case=True),
        query_params=_strings(match.query_params),
        claims=(*_claims(match.headers), *_claims(match.without_headers, invert=True)),
        source_labels=match.source_labels,
        source_namespace=match.source_namespace,
        port=match.port,
        name=match.name,
        stat_prefix=match.stat_prefix,
    )


def string_match(match: PresenceMatch | None) -> StringMatch | None:
    if match is None:
        return None
    if match.exact is not None:
        return StringMatch("exact", match.exact)
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    return StringMatch("regex", match.regex) if match.regex is not None else None


def _plain(matches: Mapping[str, PresenceMatch]) -> dict[str, PresenceMatch]:
    return {name: match for name, match in matches.items() if not routing_claim(name)}


def _claims(matches: Mapping[str, PresenceMatch], invert: bool = False) -> Iterator[ClaimMatch]:
    for name, match in matches.items():
        if path := routing_claim(name):
            yield ClaimMatch(path, string_match(match), invert)


def _strings(
    matches: Mapping[str, PresenceMatch], fold_case: bool = False
) -> dict[str, StringMatch | None]:
    return {
        name.lower() if fold_case else name: string_match(match) for name, match in matches.items()
    }


def takes_everything(matches: tuple[RouteMatch, ...]) -> bool:
    return any(map(is_catch_all, matches))


def is_catch_all(match: RouteMatch) -> bool:
    """Whether any request at all is taken."""
    if match.uri == StringMatch("prefix", "/"):
        match = replace(match, uri=None)
    return replace(match, name="", stat_prefix="", ignore_uri_case=False) == RouteMatch()
