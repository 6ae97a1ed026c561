"""Decodes which destination ports a listener filter is not for, as ranges of numbers."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.listener.v3 import listener_components_pb2

from proxy.config.model.listeners import PortRanges
from proxy.config.rejected import Rejected, at

Predicate = listener_components_pb2.ListenerFilterChainMatchPredicate
_END = 65536
_ALL: PortRanges = ((0, _END),)
MAX_DEPTH = 16


def ports(predicate: Predicate, path: str, depth: int = 0) -> PortRanges:
    """Those for which it is true. Raises Rejected."""
    if depth > MAX_DEPTH:
        raise Rejected(path, f"is nested more than {MAX_DEPTH} deep")
    kind = predicate.WhichOneof("rule")
    if kind == "or_match":
        return _union(one for each in _rules(predicate.or_match, path, kind, depth) for one in each)
    if kind == "and_match":
        left = _ALL
        for each in _rules(predicate.and_match, path, kind, depth):
            left = _complement(_union((*_complement(left), *_complement(each))))
        return left
    if kind == "not_match":
        return _complement(ports(predicate.not_match, at(path, kind), depth + 1))
    if kind == "any_match":
        return _ALL if predicate.any_match else ()
    if kind == "destination_port_range":
        written = predicate.destination_port_range
        start, end = max(written.start, 0), min(written.end, _END)
        return ((start, end),) if start < end else ()
    raise Rejected(path, "needs one of or_match, and_match, not_match and so on")


def _rules(found: Predicate.MatchSet, path: str, kind: str, depth: int) -> tuple[PortRanges, ...]:
    where = at(path, f"{kind}.rules")
    return tuple(
        ports(each, f"{where}[{index}]", depth + 1) for index, each in enumerate(found.rules)
    )


def _union(ranges: Iterable[tuple[int, int]]) -> PortRanges:
    made: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return tuple(made)


def _complement(ranges: PortRanges) -> PortRanges:
    edges = [0, *(edge for one in ranges for edge in one), _END]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, end) for start, end in pairs if start < end)
