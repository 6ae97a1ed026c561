"""Which of several rules a request takes: Gateway API's order, for the routes of one host.

Exact paths, then the longest prefix, then other expressions; then a method, more headers, more
query parameters; then the oldest route, then the first by its name; then the order of its rules.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.kinds.objects import Object
from controlplane.mesh.model import HttpRule, RouteMatch

Rank = tuple[int, int, int, int, int]
_KINDS = {"exact": 3, "prefix": 2, "regex": 1}


def rank(match: RouteMatch) -> Rank:
    """Sorts what goes first, first."""
    uri = match.uri
    kind = _KINDS[uri.kind] if uri is not None else 2
    length = len(uri.value) if uri is not None else 1
    method = match.method is not None
    return (-kind, -length, -method, -len(match.headers), -len(match.query_params))


def seniority(route: Object) -> tuple[str, str]:
    """Sorts the oldest first, then by namespace/name; those of unknown age (files) by name."""
    return route.metadata.creation_timestamp, f"{route.namespace}/{route.name}"


def in_order(rules: Iterable[tuple[Object, HttpRule]]) -> tuple[HttpRule, ...]:
    """Rules with one match each, as a proxy shall look at them; of one route they come in order."""
    keyed = sorted(rules, key=lambda item: (rank(item[1].matches[0]), seniority(item[0])))
    return tuple(rule for _, rule in keyed)
