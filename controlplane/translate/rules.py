"""One VirtualService's `http` entries -> HttpRules, with every destination looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.http_match import MESH
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import HttpRule, Mirror, RouteMatch
from controlplane.translate import http_actions
from controlplane.translate.delegates import Delegates, OwnedRoute, routes_of
from controlplane.translate.destinations import Destinations
from controlplane.translate.http_matches import route_matches
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report
from controlplane.translate.shadows import Shadows

NO_DELEGATES = Delegates(())


class RuleMaker:
    __slots__ = ("_delegates", "_destinations", "_report")

    def __init__(self, hosts: Hosts, report: Report, delegates: Delegates = NO_DELEGATES) -> None:
        self._destinations = Destinations(hosts, report)
        self._delegates = delegates
        self._report = report

    def rules(self, item: VirtualService, gateway: str = MESH) -> tuple[HttpRule, ...]:
        """In order, as `gateway` ('mesh', or 'namespace/name') sees them: rules that only others
        take are left out, unreachable ones are told."""
        made = [
            (owned, self._rule(owned, matches))
            for owned in routes_of(item, self._delegates, self._report)
            if (matches := route_matches(owned.route, gateway, owned.owner.namespace))
        ]
        self._tell_shadowed(made)
        return tuple(rule for _, rule in made)

    def _rule(self, owned: OwnedRoute, matches: tuple[RouteMatch, ...]) -> HttpRule:
        owner, path, route = owned
        self._tell_idle_fault(owned)
        return HttpRule(
            matches=matches,
            destinations=tuple(self._destinations.shares(owner, path, route.route)),
            redirect=http_actions.redirect(route.redirect),
            direct_response=http_actions.direct_response(route.direct_response),
            rewrite=http_actions.rewrite(route.rewrite),
            timeout_s=route.timeout_s or None,
            retry=http_actions.retry(route.retries),
            headers=http_actions.headers(route.headers),
            fault=http_actions.fault(route.fault),
            mirrors=tuple(self._mirrors(owned)),
            cors=http_actions.cors(route.cors_policy),
            name=route.name,
            position=route.position,
        )

    def _mirrors(self, owned: OwnedRoute) -> Iterator[Mirror]:
        owner, path, route = owned
        if route.mirror is not None:
            place = self._destinations.find(owner, f"{path}.mirror", route.mirror)
            yield Mirror(place, http_actions.mirror_percent(route))
        for index, item in enumerate(route.mirrors):
            where = f"{path}.mirrors[{index}].destination"
            place = self._destinations.find(owner, where, item.destination)
            yield Mirror(place, item.percentage.value if item.percentage else 100.0)

    def _tell_idle_fault(self, owned: OwnedRoute) -> None:
        """Istio: without a percentage no request meets the fault, which nobody expects."""
        fault = owned.route.fault
        if fault is None:
            return
        for key, part in (("delay", fault.delay), ("abort", fault.abort)):
            older = fault.delay.percent if key == "delay" and fault.delay else None
            if part is not None and part.percentage is None and older is None:
                message = f"{owned.path}.fault.{key} has no percentage and meets no request"
                self._report.warning(owned.owner, part.position, "NoWeight", message)

    # ------------------------------------------------------------------ order

    def _tell_shadowed(self, rules: Iterable[tuple[OwnedRoute, HttpRule]]) -> None:
        """Warns of rules that no request can reach, and tells of matches that take nothing."""
        earlier = Shadows()
        for owned, rule in rules:
            over = [earlier.over(match) for match in rule.matches]
            if all(over):
                places = " and ".join(dict.fromkeys(map(str, over)))
                message = f"never reached: all that it matches is taken already, at {places}"
                self._report.warning(owned.owner, rule.position, "Shadowed", message)
            elif len(over) == len(owned.route.match):
                for said, place in zip(owned.route.match, over, strict=True):
                    if place is not None:
                        message = f"takes nothing: the rule at {place} has it already"
                        self._report.info(owned.owner, said.position, "Shadowed", message)
            for match in rule.matches:
                earlier.add(match, rule.position)
