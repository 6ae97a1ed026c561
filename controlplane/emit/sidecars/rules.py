"""Which rules hold for who knows a part of the mesh only: services with those of VirtualServices
that are known there, and hosts that are known by rules alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from controlplane.emit.sidecars.claims import Context
from controlplane.mesh.model import Service
from controlplane.mesh.published import Published, chosen


class Seen:
    """What one egress knows, for one state of the mesh after the other: a service that is as it
    was, with rules that are, stays the same object. ruled: hosts that are no service's."""

    __slots__ = ("_context", "_endings", "_hidden", "_published", "_shown", "_with_rules", "ruled")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._published: tuple[Published, ...] = ()
        self._shown: tuple[Published, ...] = ()
        self._hidden: frozenset[str] = frozenset()
        self._endings: tuple[str, ...] = ()
        self._with_rules: dict[str, tuple[Service, Published | None, Service]] = {}
        self.ruled: dict[str, tuple[Published, Service]] = {}

    def update(
        self, services: tuple[Service, ...], published: tuple[Published, ...]
    ) -> tuple[Service, ...]:
        """Those of the services that are known."""
        known = self._context.egress.known
        if published is not self._published:
            self._look_at(published)
        if known.hosts == (("*", "*"),) and not known.excluded:
            return services
        taken = (one for one in services if known.takes(one.namespace, one.hostname))
        before, self._with_rules = self._with_rules, {}
        return tuple(self._ruled(one, before) for one in taken)

    def _look_at(self, published: tuple[Published, ...]) -> None:
        """Of which hosts there are rules that are not known."""
        known, namespace = self._context.egress.known, self._context.client.namespace
        mine = [one for one in published if one.shown_to(namespace)]
        hidden = [host for one in mine if not one.known_by(known) for host in one.hosts]
        self._published = published
        self._shown = tuple(one for one in mine if one.known_by(known))
        self._hidden = frozenset(hidden)
        self._endings = tuple({host[1:] for host in hidden if host.startswith("*")})

    def _ruled(
        self, service: Service, before: dict[str, tuple[Service, Published | None, Service]]
    ) -> Service:
        """With what is known of its rules, if not all of them are."""
        name = service.hostname
        if name not in self._hidden and not name.endswith(self._endings):
            return service
        best = chosen(self._shown, name)
        last = before.get(name)
        if last is None or last[0] is not service or last[1] is not best:
            rules = best.rules if best is not None else ()
            streams = best.stream_rules if best is not None else ()
            last = (service, best, replace(service, rules=rules, stream_rules=streams))
        self._with_rules[name] = last
        return last[2]

    def only_ruled(self, services: Iterable[Service]) -> list[Service]:
        """Hosts that rules are for, but none of these services: as services without a port. The
        first one's rules hold."""
        there = {one.hostname for one in services}
        before, self.ruled = self.ruled, {}
        for one in self._shown:
            for host in one.hosts if one.rules else ():
                if host in there or host in self.ruled or _means_one(host, there):
                    continue
                last = before.get(host)
                if last is None or last[0] is not one:
                    last = (one, Service(host, host, one.namespace, (), rules=one.rules))
                self.ruled[host] = last
        return [service for _, service in self.ruled.values()]


def _means_one(host: str, there: Iterable[str]) -> bool:
    """Whether a wildcard stands for one of them."""
    return host.startswith("*") and any(name.endswith(host[1:]) for name in there)
