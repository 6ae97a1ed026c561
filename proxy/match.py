"""Matchers as closures, compiled once: strings, headers, query parameters, fractions.

Shared by routes and whatever else decides by a request's head (RBAC, CORS, fault ...). The words
are Envoy's (`type.matcher.v3`, `route.v3.HeaderMatcher`). Regular expressions are RE2's, which
take linear time: a client can't stall the proxy with a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

from proxy.config.model import (
    CidrRange,
    FractionalPercent,
    HeaderMatcher,
    QueryParameterMatcher,
    StringMatcher,
)
from proxy.config.model.metadata import MetadataMatcher, ValueMatcher
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.http.regex import compiled
from proxy.runtime import RuntimeValues

BytesMatch = Callable[[bytes], bool]
RequestMatch = Callable[[Request], bool]
MetadataMatch = Callable[[Mapping[str, Mapping[str, Any]]], bool]
"""On plain data, {namespace: {key: value}}: a request's dynamic metadata, or a route's own."""


def full_regex(pattern: str) -> BytesMatch:
    """Matches the whole of the bytes by an RE2 pattern."""
    fullmatch = compiled(pattern).fullmatch
    return lambda value: fullmatch(value) is not None


def within(ranges: Iterable[CidrRange]) -> Callable[[str], bool]:
    """Is this text an address in one of `ranges`? What is none is in no range. Answers of late are
    remembered: the same clients come again."""
    networks = [ip_network((one.address, one.prefix_len), strict=False) for one in ranges]

    @lru_cache(1024)
    def test(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return test


def string(matcher: StringMatcher) -> BytesMatch:
    """`StringMatcher`; ignore_case does not change a regex (Envoy's rule)."""
    kind = matcher.kind
    if kind == "regex":
        return full_regex(matcher.value)
    wanted = matcher.value.encode()
    if matcher.ignore_case:
        lowered = _plain(kind, wanted.lower())
        return lambda value: lowered(value.lower())
    return _plain(kind, wanted)


def _plain(kind: str, wanted: bytes) -> BytesMatch:
    if kind == "exact":
        return lambda value: value == wanted
    if kind == "prefix":
        return lambda value: value.startswith(wanted)
    if kind == "suffix":
        return lambda value: value.endswith(wanted)
    return lambda value: wanted in value


def header(matcher: HeaderMatcher) -> RequestMatch:
    """`HeaderMatcher` on a request."""
    values_of = request_values(matcher.name.lower().encode())
    test = _header_test(matcher)
    return lambda request: test(values_of(request))


def response_header(matcher: HeaderMatcher) -> Callable[[Headers], bool]:
    """`HeaderMatcher` on the headers of a response."""
    name = matcher.name.lower().encode()
    test = _header_test(matcher)
    return lambda headers: test(headers.all(name))


def _header_test(matcher: HeaderMatcher) -> Callable[[list[bytes]], bool]:
    """On all values of the header: one of them must match. A header that is missing matches only
    a test for its absence, inverted or not, unless it is to count as empty (Envoy's rule)."""
    inverted = matcher.invert
    missing = [b""] if matcher.treat_missing_as_empty else []
    if matcher.range is not None:
        start, end = matcher.range
        test: BytesMatch = lambda value: _in_range(value, start, end)  # noqa: E731
    elif matcher.string is not None:
        test = string(matcher.string)
    else:
        wanted = (matcher.present is not False) != inverted
        return lambda values: bool(values or missing) == wanted

    def check(values: list[bytes]) -> bool:
        found = values or missing
        if len(found) == 1:
            return test(found[0]) != inverted
        return bool(found) and any(map(test, found)) != inverted

    return check


def _in_range(value: bytes, start: int, end: int) -> bool:
    if b"_" in value:  # a number to Python only
        return False
    try:
        return start <= int(value) < end
    except ValueError:
        return False


def request_values(name: bytes) -> Callable[[Request], list[bytes]]:
    """Reads a header, or one of the pseudo-headers that Envoy lets matchers name."""
    if name == b":method":
        return lambda request: [request.method]
    if name == b":path":
        return lambda request: [request.path]
    if name in (b":authority", b"host"):
        return lambda request: [request.authority]
    if name == b":scheme":
        return lambda request: [request.scheme]
    return lambda request: request.headers.all(name)


def query_parameter(matcher: QueryParameterMatcher) -> RequestMatch:
    """`QueryParameterMatcher`: the first parameter of that name counts, as it is spelled."""
    name = matcher.name.encode()
    if matcher.string is None:
        wanted = matcher.present is not False
        return lambda request: (query_value(request.path, name) is not None) == wanted
    test = string(matcher.string)

    def check(request: Request) -> bool:
        value = query_value(request.path, name)
        return value is not None and test(value)

    return check


def query_value(path: bytes, name: bytes) -> bytes | None:
    """Of the first parameter called `name`, as it is spelled; None if there is none."""
    query = path.partition(b"?")[2]
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name:
            return value
    return None


def fraction(
    percent: FractionalPercent, random: Random, runtime: RuntimeValues
) -> Callable[[], bool]:
    """True for that share of the calls; a runtime value goes before it."""
    key, numerator, denominator = percent.runtime_key, percent.numerator, percent.denominator
    draw = random.random
    if not key:
        share = numerator / denominator
        return lambda: draw() < share

    def check() -> bool:
        above, below = runtime.fraction(key, numerator, denominator)
        return draw() * below < above

    return check


# ---------------------------------------------------------------------------- metadata


class _Missing:
    """There is no value: neither null nor false."""


_MISSING = _Missing()


def metadata(matcher: MetadataMatcher) -> MetadataMatch:
    """A value that is not there matches only `present_match: false`."""
    namespace, path, inverted = matcher.filter, matcher.path, matcher.invert
    test = _value(matcher.value)

    def check(data: Mapping[str, Mapping[str, Any]]) -> bool:
        found: Any = data.get(namespace, _MISSING)
        for key in path:
            found = found.get(key, _MISSING) if isinstance(found, Mapping) else _MISSING
        return test(found) != inverted

    return check


def _value(matcher: ValueMatcher) -> Callable[[Any], bool]:
    kind = matcher.kind
    if kind == "null":
        return lambda value: value is None
    if kind == "present":
        wanted = matcher.boolean
        return lambda value: (value is not _MISSING and value is not None) == wanted
    if kind == "bool":
        boolean = matcher.boolean
        return lambda value: value is boolean
    if kind == "list":
        one = _value(matcher.inner[0])
        return lambda value: isinstance(value, list) and any(map(one, value))
    if kind == "or":
        tests = [_value(each) for each in matcher.inner]
        return lambda value: any(test(value) for test in tests)
    if matcher.string is not None:
        text = string(matcher.string)
        return lambda value: isinstance(value, str) and text(value.encode())
    return _number(kind == "exact", *matcher.numbers)


def _number(exact: bool, start: float, end: float) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == start if exact else start <= value < end

    return check
