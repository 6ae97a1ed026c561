"""Rules of HTTPRoutes and GRPCRoutes from build to build: a route that is the same object is made
again only where one of the services to which it refers, or the leave to do so, is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.translate.gateways.backends import Backends, Read, Watched
from controlplane.translate.gateways.http_rules import Entrance, HttpRules, Made

_Key = tuple[int, Entrance, bool]


class _Known(NamedTuple):
    """read: what it was made of, besides the route."""

    route: HTTPRoute | GRPCRoute
    read: tuple[Read, ...]
    made: Made


class RouteRules:
    """Of one build after the other; those that a build does not ask for are forgotten by the
    next."""

    __slots__ = ("_now", "_old")

    def __init__(self) -> None:
        self._now: dict[_Key, _Known] = {}
        self._old: dict[_Key, _Known] = {}

    def begin(self) -> None:
        """A new build begins."""
        self._old, self._now = self._now, {}

    def by(self, backends: Backends) -> RulesOf:
        """How this build makes them."""

        def of(route: HTTPRoute | GRPCRoute, entrance: Entrance) -> Made:
            key = (id(route), entrance, backends.for_all)
            known = self._now.get(key)
            if known is None or known.route is not route:
                known = self._old.get(key)
                if known is None or known.route is not route or not backends.stand(known.read):
                    known = _made(route, entrance, backends)
                self._now[key] = known
            return known.made

        return of


RulesOf = Callable[[HTTPRoute | GRPCRoute, Entrance], Made]


def _made(route: HTTPRoute | GRPCRoute, entrance: Entrance, backends: Backends) -> _Known:
    watched = Watched(backends)
    made = HttpRules(watched).of(route, entrance)
    return _Known(route, tuple(watched.read), made)
