"""A `RouteMatch` as one closure.

Most of it looks at the request only; the client's certificate, dynamic metadata and filter state
are the stream's. Paths are compared without their query, and where `ignore_path_parameters` says
so without what follows a `;` in each segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, Protocol

from proxy import match
from proxy.config.model import FilterStateMatcher, RouteMatch
from proxy.connection import ConnectionInfo
from proxy.http.message import Request
from proxy.http.uri_template import parse_template
from proxy.runtime import RuntimeValues


class Seen(Protocol):
    """What a match may see of a stream beside its request."""

    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def filter_state(self) -> Mapping[str, Any]: ...


Matches = Callable[[Request, Seen], bool]
PathOf = Callable[[Request], bytes]
_PARAMETERS = re.compile(rb";[^/]*")


def route_matches(
    config: RouteMatch,
    random: Random,
    runtime: RuntimeValues,
    ignore_path_parameters: bool = False,
) -> Matches | None:
    """None if it takes every request that has a path."""
    tests = [*_path_tests(config, ignore_path_parameters), *_request_tests(config)]
    if config.runtime_fraction is not None:
        lucky = match.fraction(config.runtime_fraction, random, runtime)
        tests.append(lambda _, __: lucky())
    tests += _stream_tests(config)
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    first, second, *others = tests
    if not others:
        return lambda request, stream: first(request, stream) and second(request, stream)
    return lambda request, stream: all(test(request, stream) for test in tests)


def _path_tests(config: RouteMatch, no_parameters: bool) -> list[Matches]:
    fold = not config.case_sensitive
    path_of = path_reader(fold, no_parameters)
    if config.connect:
        return [_is_connect]
    if config.prefix is not None:
        return _prefix_tests(_wanted(config.prefix, fold), path_of)
    if config.path is not None:
        exact = _wanted(config.path, fold)
        return [lambda request, _: path_of(request) == exact]
    if config.path_separated_prefix is not None:
        base = _wanted(config.path_separated_prefix, fold)
        below = base + b"/"
        return [lambda request, _: (p := path_of(request)) == base or p.startswith(below)]
    if config.uri_template is not None:
        test = match.full_regex(parse_template(config.uri_template).regex)
        return [lambda request, _: test(_bare(request))]
    bare = path_reader(False, no_parameters)
    test = match.full_regex(config.regex or "")
    return [lambda request, _: test(bare(request))]


def _prefix_tests(prefix: bytes, path_of: PathOf) -> list[Matches]:
    if prefix in (b"/", b""):
        return []
    if path_of is _bare and b"?" not in prefix:  # what it says of the path holds with the query
        return [lambda request, _: request.path.startswith(prefix)]
    return [lambda request, _: path_of(request).startswith(prefix)]


def path_reader(fold: bool, no_parameters: bool) -> PathOf:
    """How a path is read to be compared."""
    if no_parameters:
        plain: PathOf = lambda request: _PARAMETERS.sub(b"", _bare(request))  # noqa: E731
        return (lambda request: plain(request).lower()) if fold else plain
    return _folded if fold else _bare


def _wanted(text: str, fold: bool) -> bytes:
    return text.lower().encode() if fold else text.encode()


def _bare(request: Request) -> bytes:
    path = request.path
    at = path.find(b"?")
    return path if at < 0 else path[:at]


def _folded(request: Request) -> bytes:
    return _bare(request).lower()


def _is_connect(request: Request, _: Seen) -> bool:
    return request.method == b"CONNECT"


# ------------------------------------------------------------------- the rest of the request


def _request_tests(config: RouteMatch) -> list[Matches]:
    tests = [match.header(matcher) for matcher in config.headers]
    tests += [match.query_parameter(matcher) for matcher in config.query_parameters]
    if config.grpc:
        tests.append(is_grpc)
    return [_of_request(test) for test in tests]


def _of_request(test: Callable[[Request], bool]) -> Matches:
    return lambda request, _: test(request)


def is_grpc(request: Request) -> bool:
    kind = request.headers.get(b"content-type") or b""
    return kind == b"application/grpc" or kind.startswith(b"application/grpc+")


def _stream_tests(config: RouteMatch) -> list[Matches]:
    # A certificate that is not valid ends the handshake: presented ones are validated.
    certificates = (config.tls_presented, config.tls_validated)
    found = [_has_certificate(wanted) for wanted in certificates if wanted is not None]
    found += [_of_metadata(match.metadata(each)) for each in config.dynamic_metadata]
    found += [_of_filter_state(each) for each in config.filter_state]
    return found


def _has_certificate(wanted: bool) -> Matches:
    return lambda _, stream: (stream.info.peer is not None) == wanted


def _of_metadata(test: Callable[[Mapping[str, Mapping[str, Any]]], bool]) -> Matches:
    return lambda _, stream: test(stream.metadata)


def _of_filter_state(matcher: FilterStateMatcher) -> Matches:
    key = matcher.key
    if matcher.string is not None:
        test = match.string(matcher.string)
    else:
        test = _in_ranges(matcher)

    def check(_: Request, stream: Seen) -> bool:
        value = stream.filter_state.get(key)
        return value is not None and test(str(value).encode())

    return check


def _in_ranges(matcher: FilterStateMatcher) -> match.BytesMatch:
    ranges = [ip_network(f"{each.address}/{each.prefix_len}") for each in matcher.ranges]

    def check(value: bytes) -> bool:
        try:
            address = ip_address(value.decode())
        except ValueError:
            return False
        return any(address in each for each in ranges)

    return check
