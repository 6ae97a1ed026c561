"""Weighted clusters: which entry a request of the route follows, decided when it is routed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from proxy.compile.routes.place import RouteContext
from proxy.config.model import RouteAction
from proxy.l7.entry import RouteEntry
from proxy.l7.stream import Stream
from proxy.route.hashing import request_hash

MAX_UINT64 = 2**64 - 1


def weigh(action: RouteAction, entries: Sequence[RouteEntry], context: RouteContext) -> RouteEntry:
    """The entry that stands in the table; its `pick` leads to one of `entries`."""
    standing = RouteEntry(entries[0].name)
    standing.virtual_host = entries[0].virtual_host
    draw = _draw(action, context)
    if action.weighted_runtime_prefix:
        weights_of = _by_runtime(action, context)

        def pick_now(stream: Stream) -> RouteEntry | None:
            edges = weights_of()
            total = edges[-1]
            return entries[bisect_right(edges, draw(stream, total))] if total else None

        standing.pick = pick_now
        return standing
    edges = list(accumulate([each.weight for each in action.weighted]))
    total = edges[-1]
    standing.pick = lambda stream: entries[bisect_right(edges, draw(stream, total))]
    return standing


def _by_runtime(action: RouteAction, context: RouteContext) -> Callable[[], list[int]]:
    """`runtime_key_prefix`.CLUSTER goes before the weight; with all 0 there is no route (Envoy)."""
    prefix, integer = action.weighted_runtime_prefix, context.runtime.integer
    given = [(f"{prefix}.{each.name}", each.weight) for each in action.weighted]
    return lambda: list(accumulate([integer(key, weight) for key, weight in given]))


def _draw(action: RouteAction, context: RouteContext) -> Callable[[Stream, int], int]:
    """A number below the total: of the header, the hash policy, or random."""
    randrange = context.random.randrange
    if action.weighted_header:
        name = action.weighted_header.encode()

        def of_header(stream: Stream, total: int) -> int:
            values = stream.request.headers.all(name)
            number = _number(values[0]) if len(values) == 1 else None
            return randrange(total) if number is None else number % total

        return of_header
    hash_of = request_hash(action.hash_policies) if action.weighted_by_hash else None
    if hash_of is not None:

        def of_hash(stream: Stream, total: int) -> int:
            found = hash_of(stream)
            return randrange(total) if found is None else found % total

        return of_hash
    random = context.random.random
    return lambda _, total: int(random() * total)


def _number(text: bytes) -> int | None:
    if not text.isdigit() or (number := int(text)) > MAX_UINT64:
        return None
    return number
