"""The descriptors of a request: what its rate limit actions say about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Literal
from weakref import WeakKeyDictionary

from proxy import match
from proxy.config.model import rate_limits as model
from proxy.filters.api import FilterStream
from proxy.filters.token_bucket import Descriptor
from proxy.http.message import Request

Entry = Callable[[FilterStream], tuple[str, str] | bool | None]
"""An entry of the descriptor; None: there is no descriptor then; False: it goes without this."""
Describe = Callable[[FilterStream], list[tuple[Descriptor, int]]]


def describer(limits: Sequence[model.RateLimit], stage: int, node_cluster: str) -> Describe | None:
    """The descriptors with the tokens that each costs; None where nothing is ever described."""
    wanted = [
        ([_entry(action, node_cluster) for action in limit.actions], limit.hits_addend)
        for limit in limits
        if limit.stage == stage and not limit.disable_key
    ]
    if not wanted:
        return None

    def describe(stream: FilterStream) -> list[tuple[Descriptor, int]]:
        found = []
        for entries, cost in wanted:
            descriptor = _descriptor(entries, stream)
            if descriptor:
                found.append((descriptor, cost))
        return found

    return describe


def describer_by_route(
    of_host: Literal["OVERRIDE", "INCLUDE", "IGNORE"], stage: int, node_cluster: str
) -> Describe:
    """By the rate limits of the route that a request goes, and of its virtual host.

    of_host: `vh_rate_limits`; OVERRIDE leaves it to the route."""
    known: WeakKeyDictionary[model.RouteRateLimits, Describe | None] = WeakKeyDictionary()

    def describe(stream: FilterStream) -> list[tuple[Descriptor, int]]:
        limits = stream.route.rate_limits if stream.route is not None else None
        if limits is None:
            return []
        if limits not in known:
            known[limits] = describer(_applicable(limits, of_host), stage, node_cluster)
        found = known[limits]
        return found(stream) if found is not None else []

    return describe


def _applicable(limits: model.RouteRateLimits, of_host: str) -> tuple[model.RateLimit, ...]:
    if of_host == "IGNORE":
        return limits.route
    if of_host == "INCLUDE" or limits.includes_host:
        return limits.route + limits.host
    return limits.route or limits.host


def _descriptor(entries: Sequence[Entry], stream: FilterStream) -> Descriptor | None:
    found: list[tuple[str, str]] = []
    for entry in entries:
        pair = entry(stream)
        if pair is None:
            return None
        if isinstance(pair, tuple):
            found.append(pair)
    return tuple(found)


def _entry(action: model.Action, node_cluster: str) -> Entry:
    if isinstance(action, model.Fixed):
        return _fixed(action, node_cluster)
    compiler: Callable[[Any], Entry] = _COMPILERS[type(action)]
    return compiler(action)


def _fixed(action: model.Fixed, node_cluster: str) -> Entry:
    key = action.key
    if action.kind == "destination_cluster":
        return lambda stream: (key, stream.route.cluster_name) if stream.route else None
    value = node_cluster if action.kind == "source_cluster" else action.value
    return lambda _: (key, value)


def _from_header(action: model.FromHeader) -> Entry:
    name, key, absent = action.header.lower().encode(), action.key, _absent(action.skip_if_absent)
    values_of = match.request_values(name)

    def entry(stream: FilterStream) -> tuple[str, str] | bool | None:
        values = values_of(stream.request)
        return (key, values[0].decode("latin-1")) if values else absent

    return entry


def _absent(skips: bool) -> bool | None:
    return False if skips else None


def _from_query(action: model.FromQuery) -> Entry:
    name, key, absent = action.parameter.encode(), action.key, _absent(action.skip_if_absent)

    def entry(stream: FilterStream) -> tuple[str, str] | bool | None:
        for pair in stream.request.path.partition(b"?")[2].split(b"&"):
            known, _, value = pair.partition(b"=")
            if known == name:
                return key, value.decode("latin-1")
        return absent

    return entry


def _remote_address(action: model.RemoteAddress) -> Entry:
    key, masks = action.key, action.masks

    def entry(stream: FilterStream) -> tuple[str, str] | None:
        host = stream.remote[0]
        if masks is None:
            return key, host
        try:
            return key, str(ip_network((host, masks[":" in host]), strict=False))
        except ValueError:
            return None

    return entry


def _if_match(action: model.IfMatch) -> Entry:
    pair, expects = (action.key, action.value), action.expects
    tests: list[Callable[[Request], bool]] = [match.header(each) for each in action.headers]
    tests += [match.query_parameter(each) for each in action.parameters]

    def entry(stream: FilterStream) -> tuple[str, str] | None:
        return pair if all(test(stream.request) for test in tests) == expects else None

    return entry


def _from_metadata(action: model.FromMetadata) -> Entry:
    key, path, default = action.key, action.path, action.default
    absent, dynamic = _absent(action.skip_if_absent), action.source == "DYNAMIC"

    def entry(stream: FilterStream) -> tuple[str, str] | bool | None:
        route = stream.route
        found: Any = stream.metadata if dynamic else (route.metadata if route else {})
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        value = found if isinstance(found, str) and found else default
        return (key, value) if value else absent

    return entry


_COMPILERS: Mapping[type, Callable[[Any], Entry]] = {
    model.FromHeader: _from_header,
    model.FromQuery: _from_query,
    model.RemoteAddress: _remote_address,
    model.IfMatch: _if_match,
    model.FromMetadata: _from_metadata,
}
