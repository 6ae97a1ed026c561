"""The first route of a virtual host that takes a request, found without trying them all.

Routes are tried in order. Where there are many, those that can match a path are found by it (a
dictionary of exact paths, one of prefixes for each length) and only they are tried, still in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from proxy.config.model import RouteMatch
from proxy.http.message import Request
from proxy.route.matching import Matches, Seen
from proxy.route.table import Find

FEW = 8
Target = TypeVar("Target")


class Candidate(Generic[Target]):
    """matches: None takes every request that has a path."""

    # Written out: mypyc takes no generic dataclass.
    __slots__ = ("config", "matches", "target")

    def __init__(self, config: RouteMatch, matches: Matches | None, target: Target) -> None:
        self.config = config
        self.matches = matches
        self.target = target


def first_match(
    candidates: Sequence[Candidate[Target]], ignore_path_parameters: bool = False
) -> Find[Target]:
    """A CONNECT has no path, and only routes that match CONNECT take it (Envoy)."""
    connects = tuple([(c.matches, c.target) for c in candidates if c.config.connect])
    if len(candidates) > FEW and not ignore_path_parameters:
        return _many(candidates, connects)
    return _few(candidates, connects)


_Routes = tuple[tuple[Matches | None, Target], ...]


def _few(candidates: Sequence[Candidate[Target]], connects: _Routes[Target]) -> Find[Target]:
    routes = tuple([(each.matches, each.target) for each in candidates])

    def find(request: Request, stream: Seen) -> Target | None:
        for matches, target in routes if request.path else connects:
            if matches is None or matches(request, stream):
                return target
        return None

    return find


def _many(candidates: Sequence[Candidate[Target]], connects: _Routes[Target]) -> Find[Target]:
    routes = [(each.matches, each.target) for each in candidates]
    index = _Index(candidates)

    def find(request: Request, stream: Seen) -> Target | None:
        path = request.path
        able = [routes[at] for at in index.able(path)] if path else connects
        for matches, target in able:
            if matches is None or matches(request, stream):
                return target
        return None

    return find


class _Index:
    """Which routes can match a path at all, by their places."""

    __slots__ = ("_exact", "_lengths", "_others", "_prefixes")

    def __init__(self, candidates: Sequence[Candidate[Target]]) -> None:
        self._exact: dict[bytes, list[int]] = {}
        self._prefixes: dict[bytes, list[int]] = {}
        self._others: list[int] = []
        for at, each in enumerate(candidates):
            path, prefix = _keys(each.config)
            if path is not None:
                self._exact.setdefault(path, []).append(at)
            elif prefix:
                self._prefixes.setdefault(prefix, []).append(at)
            else:
                self._others.append(at)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def able(self, path: bytes) -> list[int]:
        end = path.find(b"?")
        if end >= 0:
            path = path[:end]
        found = [*self._others, *self._exact.get(path, ())]
        for length in self._lengths:
            if length > len(path):
                break
            found += self._prefixes.get(path[:length], ())
        found.sort()
        return found


def _keys(config: RouteMatch) -> tuple[bytes | None, bytes | None]:
    """The only path that can match, or what it must begin with; None where nothing is known."""
    if not config.case_sensitive:
        return None, None
    if config.path is not None:
        return config.path.encode(), None
    prefix = config.prefix if config.prefix is not None else config.path_separated_prefix
    return None, prefix.encode() if prefix is not None else None
