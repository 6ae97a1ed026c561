"""Finds the route of a request: virtual host by its host, then the first route that matches.

Pure and built once per configuration. What a route leads to is opaque here (`target`): `compile`
decides. Domain precedence is Envoy's: exact, longest suffix wildcard (`*.x`), longest prefix
wildcard (`x.*`), `*`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, TypeVar

from proxy import match
from proxy.config.model import RouteMatch
from proxy.http.message import Request

MAX_SEEN = 1024
MAX_SEEN_BYTES = 320  # a DNS name has at most 253 (RFC 1035 section 2.3.4); longer is not kept

Target = TypeVar("Target")
Matches = Callable[[Request], bool]


class Table(Generic[Target]):
    """`find(request)` gives the target of its route, or None: no virtual host or no route."""

    __slots__ = ("_any", "_exact", "_ignore_port", "_prefixes", "_seen", "_suffixes")

    def __init__(self, ignore_port: bool = False) -> None:
        self._exact: dict[bytes, _Routes[Target]] = {}
        self._suffixes: list[tuple[bytes, _Routes[Target]]] = []
        self._prefixes: list[tuple[bytes, _Routes[Target]]] = []
        self._any: _Routes[Target] = ()
        self._seen: dict[bytes, _Routes[Target]] = {}  # hosts as clients spelled them
        self._ignore_port = ignore_port

    def add(self, domains: Sequence[str], routes: Sequence[tuple[Matches | None, Target]]) -> None:
        """A virtual host. A route whose test is None matches everything."""
        found = tuple(routes)
        for domain in domains:
            name = domain.lower().encode()
            if name == b"*":
                self._any = found
            elif name.startswith(b"*"):
                self._suffixes.append((name[1:], found))
            elif name.endswith(b"*"):
                self._prefixes.append((name[:-1], found))
            else:
                self._exact[name] = found
        self._suffixes.sort(key=lambda entry: -len(entry[0]))
        self._prefixes.sort(key=lambda entry: -len(entry[0]))

    def find(self, request: Request) -> Target | None:
        host = request.authority
        routes = self._seen.get(host)
        if routes is None:
            routes = self._by_name(host.lower())
            if len(host) <= MAX_SEEN_BYTES:
                if len(self._seen) >= MAX_SEEN:
                    self._seen.clear()
                self._seen[host] = routes
        for matches, target in routes:
            if matches is None or matches(request):
                return target
        return None

    def _by_name(self, host: bytes) -> _Routes[Target]:
        if self._ignore_port:
            colon = host.rfind(b":")
            if colon > host.rfind(b"]"):
                host = host[:colon]
        found = self._exact.get(host)
        if found is not None:
            return found
        for suffix, routes in self._suffixes:
            if host.endswith(suffix) and len(host) > len(suffix):
                return routes
        for prefix, routes in self._prefixes:
            if host.startswith(prefix) and len(host) > len(prefix):
                return routes
        return self._any


_Routes = tuple[tuple[Matches | None, Target], ...]


def route_matches(config: RouteMatch, random: Random) -> Matches | None:
    """A `RouteMatch` as one closure; None if it takes every request."""
    tests: list[Matches] = []
    path = _path_test(config)
    if path is not None:
        tests.append(path)
    tests.extend(match.header(matcher) for matcher in config.headers)
    tests.extend(match.query_parameter(matcher) for matcher in config.query_parameters)
    if config.grpc:
        tests.append(_is_grpc)
    if config.runtime_fraction is not None:
        lucky = match.fraction(config.runtime_fraction, random)
        tests.append(lambda _: lucky())
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    first, second, *others = tests
    if not others:
        return lambda request: first(request) and second(request)
    return lambda request: all(test(request) for test in tests)


def _path_test(config: RouteMatch) -> Matches | None:
    """Paths are compared without their query; `prefix: /` takes everything."""
    fold = not config.case_sensitive
    path_of = _folded if fold else _bare
    if config.prefix is not None:
        return _prefix_test(_wanted(config.prefix, fold), fold)
    if config.path is not None:
        exact = _wanted(config.path, fold)
        return lambda request: path_of(request) == exact
    if config.path_separated_prefix is not None:
        base = _wanted(config.path_separated_prefix, fold)
        below = base + b"/"
        return lambda request: (path := path_of(request)) == base or path.startswith(below)
    if config.regex is not None:
        test = match.full_regex(config.regex)
        return lambda request: test(_bare(request))
    return None


def _prefix_test(prefix: bytes, fold: bool) -> Matches | None:
    if prefix == b"/":
        return None
    if fold:
        return lambda request: _folded(request).startswith(prefix)
    if b"?" in prefix:  # can't match: the query is not part of what is compared
        return lambda request: _bare(request).startswith(prefix)
    return lambda request: request.path.startswith(prefix)


def _wanted(text: str, fold: bool) -> bytes:
    return text.lower().encode() if fold else text.encode()


def _bare(request: Request) -> bytes:
    path = request.path
    at = path.find(b"?")
    return path if at < 0 else path[:at]


def _folded(request: Request) -> bytes:
    return _bare(request).lower()


def _is_grpc(request: Request) -> bool:
    kind = request.headers.get(b"content-type") or b""
    return kind == b"application/grpc" or kind.startswith(b"application/grpc+")
