"""HTTP filters of a connection manager into the chains that its streams walk.

A chain is made when the first request of a route with filter configuration of its own asks for it,
so that thousands of routes cost nothing before they are used. What a filter does with the same
configurations is one `Hooks`, so that what it counts for a virtual host is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from proxy.config.filters.decode_per_route import Disabled, Enabled
from proxy.config.model import HttpFilter
from proxy.filters import FILTERS
from proxy.filters.api import (
    Answer,
    Filter,
    FilterContext,
    FilterStream,
    Hooks,
    MissingCluster,
)
from proxy.l7.chain import Chain
from proxy.l7.stream import Stream

Overrides = Mapping[str, tuple[object, ...]]
"""By filter name: the route's configurations of it, the most specific first."""


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    name: str
    filter: Filter
    disabled: bool


class Chains:
    """`chain(overrides)` for the filters of one connection manager; `router` is the last step."""

    def __init__(
        self,
        filters: tuple[HttpFilter, ...],
        context: FilterContext,
        router: Callable[[Stream], Answer],
        first: Hooks | None = None,
    ) -> None:
        """first: what stands before all filters."""
        self._router = router
        self._first = first
        self._placed = [
            _Placed(one.name, FILTERS[one.type_url](one.config, context), one.disabled)
            for one in filters[:-1]
        ]
        self._hooks: dict[tuple[int, ...], tuple[tuple[object, ...], Hooks | None]] = {}

    def chain(self, overrides: Overrides) -> Chain:
        found = [
            (at, hooks)
            for at, one in enumerate(self._placed)
            if (hooks := self._hooks_of(at, one, overrides.get(one.name, ()))) is not None
        ]
        if self._first is not None:
            found.insert(0, (-1, self._first))
        return laid_out(found, len(self._placed), self._router)

    def lost(self) -> Chain | None:
        """Of requests without a route: who may fetch one comes first. None if nobody does."""
        found = [self._hooks_of(at, one, ()) for at, one in enumerate(self._placed)]
        asked = [hooks.on_missing_route for hooks in found if hooks is not None]
        steps = tuple([step for step in asked if step is not None])
        if not steps:
            return None
        usual, nothing = self.chain({}), (None,) * len(steps)
        return replace(
            usual,
            steps=(*steps, *usual.steps),
            places=(*(-1 for _ in steps), *usual.places),
            request_data=(*nothing, *usual.request_data) if usual.request_data else (),
            request_end=(*nothing, *usual.request_end) if usual.request_end else (),
        )

    def _hooks_of(self, at: int, one: _Placed, given: tuple[object, ...]) -> Hooks | None:
        """What the most specific configuration says decides whether the filter takes part."""
        if isinstance(given[0], Disabled) if given else one.disabled:
            return None
        key = (at, *map(id, given))
        found = self._hooks.get(key)
        if found is None:  # `given` is kept, so that no other object gets its id
            hooks = one.filter.for_route(tuple(_configurations(given)))
            found = self._hooks[key] = (given, hooks)
        return found[1]

    def forget(self) -> None:
        """The routes have changed: what was made for the old ones is needed no more."""
        self._hooks.clear()


def _configurations(given: tuple[object, ...]) -> list[object]:
    return [one for one in given if not isinstance(one, Disabled | Enabled)]


def laid_out(
    found: list[tuple[int, Hooks]], router_place: int, router: Callable[[Stream], Answer]
) -> Chain:
    """Filters by their places into one chain."""
    asking = [
        (at, hooks)
        for at, hooks in found
        if hooks.on_request or hooks.on_request_data or hooks.on_request_end
    ]
    replying = [hooks for _, hooks in reversed(found)]
    data = (*(hooks.on_request_data for _, hooks in asking), None)
    ends = (*(hooks.on_request_end for _, hooks in asking), None)
    steps: list[Callable[[Stream], Answer]] = [h.on_request or _go_on for _, h in asking]
    passed = [h.on_response_data for h in replying if h.on_response_data]
    response_ends = [h.on_response_end for h in replying if h.on_response_end]
    return Chain(
        steps=(*steps, router),
        places=(*(at for at, _ in asking), router_place),
        request_data=data if any(data) else (),
        request_end=ends if any(ends) else (),
        replies=tuple([hooks.on_response for hooks in replying if hooks.on_response]),
        response_data=tuple(passed),
        response_end=tuple(response_ends),
        at_end=tuple([hooks.at_end for _, hooks in found if hooks.at_end]),
        looks_at_requests=any(data) or any(ends),
        looks_at_replies=bool(passed or response_ends),
        missing_cluster=_first([h.on_missing_cluster for _, h in found]),
    )


def _first(found: list[MissingCluster | None]) -> MissingCluster | None:
    return next((one for one in found if one is not None), None)


def _go_on(_: FilterStream) -> None:
    return None
