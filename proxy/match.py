"""Matchers as closures, compiled once: strings, headers, query parameters, fractions.

Shared by routes and whatever else decides by a request's head (RBAC, CORS, fault ...). The words
are Envoy's (`type.matcher.v3`, `route.v3.HeaderMatcher`). Regular expressions are RE2's, which
take linear time: a client can't stall the proxy with a path.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from proxy.config.model import (
    FractionalPercent,
    HeaderMatcher,
    QueryParameterMatcher,
    StringMatcher,
)
from proxy.http.headers import Headers
from proxy.http.message import Request

BytesMatch = Callable[[bytes], bool]
RequestMatch = Callable[[Request], bool]


def full_regex(pattern: str) -> BytesMatch:
    """Matches the whole of the bytes by an RE2 pattern."""
    import re2  # only who uses a regex pays for the library

    options = re2.Options()
    options.never_nl = False
    options.encoding = re2.Options.Encoding.LATIN1
    compiled = re2.compile(pattern.encode(), options)
    fullmatch = compiled.fullmatch
    return lambda value: fullmatch(value) is not None


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
    values_of = _values_of(matcher.name.lower().encode())
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
    if matcher.range is not None:
        start, end = matcher.range
        test: BytesMatch = lambda value: _in_range(value, start, end)  # noqa: E731
    elif matcher.string is not None:
        test = string(matcher.string)
    else:
        wanted = (matcher.present is not False) != inverted
        return lambda values: bool(values) == wanted
    missing = [b""] if matcher.treat_missing_as_empty else []

    def check(values: list[bytes]) -> bool:
        found = values or missing
        return bool(found) and any(map(test, found)) != inverted

    return check


def _in_range(value: bytes, start: int, end: int) -> bool:
    try:
        return start <= int(value) < end
    except ValueError:
        return False


def _values_of(name: bytes) -> Callable[[Request], list[bytes]]:
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
        return lambda request: (_query_value(request.path, name) is not None) == wanted
    test = string(matcher.string)

    def check(request: Request) -> bool:
        value = _query_value(request.path, name)
        return value is not None and test(value)

    return check


def _query_value(path: bytes, name: bytes) -> bytes | None:
    query = path.partition(b"?")[2]
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name:
            return value
    return None


def fraction(percent: FractionalPercent, random: Random) -> Callable[[], bool]:
    """True for that share of the calls."""
    share = percent.numerator / percent.denominator
    return lambda: random.random() < share
