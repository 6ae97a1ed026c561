"""Rules that no request can reach, because earlier ones of the same list take all that they would.

Only what is certain is said: a match that is as wide in everything. Which rule is first is the
caller's; what becomes of the requests is not known here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice

from controlplane.mesh.model import Position, RouteMatch, StringMatch

_LOOKED_AT = 100
"""Of earlier matches with the same beginning of a path, so that a list of a thousand rules that
differ by a header costs a thousand times that and not a million."""


class Shadows:
    """The matches of a list so far."""

    __slots__ = ("_by_path", "_lengths")

    def __init__(self) -> None:
        self._by_path: dict[str, list[tuple[RouteMatch, Position]]] = defaultdict(list)
        self._lengths: set[int] = set()

    def add(self, match: RouteMatch, position: Position) -> None:
        key = _key(match)
        self._by_path[key].append((match, position))
        self._lengths.add(len(key))

    def over(self, match: RouteMatch) -> Position | None:
        """The place of the rule that takes all that `match` would."""
        for earlier, position in self._candidates(match):
            if covers(earlier, match):
                return position
        return None

    def _candidates(self, match: RouteMatch) -> Iterator[tuple[RouteMatch, Position]]:
        path = match.uri.value if match.uri is not None else ""
        for length in self._lengths:
            if length <= len(path):
                yield from islice(self._by_path.get(path[:length], ()), _LOOKED_AT)


def _key(match: RouteMatch) -> str:
    """With what the paths begin that it may take."""
    return "" if match.uri is None or match.ignore_uri_case else match.uri.value


def covers(wide: RouteMatch, narrow: RouteMatch) -> bool:
    """Whether `wide` surely takes every request that `narrow` takes."""
    return (
        _covers_path(wide, narrow)
        and _covers_text(wide.scheme, narrow.scheme)
        and _covers_text(wide.method, narrow.method)
        and _covers_text(wide.authority, narrow.authority)
        and _covers_all(wide.headers, narrow.headers)
        and wide.without_headers.items() <= narrow.without_headers.items()
        and _covers_all(wide.query_params, narrow.query_params)
        and set(wide.claims) <= set(narrow.claims)
        and wide.source_labels.items() <= narrow.source_labels.items()
        and wide.source_namespace in ("", narrow.source_namespace)
        and wide.port in (None, narrow.port)
    )


def _covers_path(wide: RouteMatch, narrow: RouteMatch) -> bool:
    if wide.uri is None or (wide.uri.kind == "prefix" and wide.uri.value == "/"):
        return True
    if narrow.uri is None or (narrow.ignore_uri_case and not wide.ignore_uri_case):
        return False
    if wide.uri.kind == "regex" or narrow.uri.kind == "regex":
        return wide.uri == narrow.uri
    one, other = wide.uri.value, narrow.uri.value
    if wide.ignore_uri_case:
        one, other = one.casefold(), other.casefold()
    if wide.uri.kind == "exact":
        return narrow.uri.kind == "exact" and one == other
    if not wide.whole_segments:
        return other.startswith(one)
    ends = narrow.uri.kind == "exact" or narrow.whole_segments
    return other.startswith(f"{one}/") or (ends and other == one)


def _covers_text(wide: StringMatch | None, narrow: StringMatch | None) -> bool:
    """None takes everything."""
    if wide is None:
        return True
    if narrow is None:
        return False
    if wide.kind == "prefix" and narrow.kind != "regex":
        return narrow.value.startswith(wide.value)
    return wide == narrow


Matches = Mapping[str, StringMatch | None]


def _covers_all(wide: Matches, narrow: Matches) -> bool:
    """What is named must be there, whatever it is where the matcher is None."""
    return all(name in narrow and _covers_text(one, narrow[name]) for name, one in wide.items())
