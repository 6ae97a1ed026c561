"""What intercepting sidecars on demand share, as resources: what all of them have, and what each
gets that asks for it by name. Made again only of messages that are others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import on_demand
from controlplane.emit.sidecars import demanded
from controlplane.emit.sidecars.demanded import Place
from controlplane.resources import Resource
from controlplane.snapshot import Draft, encode
from protos.types import CDS, LDS, RDS, VHDS

Types = dict[str, dict[str, Resource]]
"""Type URL -> name -> resource."""


class Made(NamedTuple):
    """by_name: for who asks. held: what all have. needed: clusters of services that all have."""

    by_name: Types
    held: Types
    needed: frozenset[str] = frozenset()


class _Of(NamedTuple):
    """The resources of one message. needed: clusters for which nobody asks."""

    message: Listener | RouteConfiguration
    asks: tuple[str, ...] | None
    resources: tuple[Resource, ...]
    needed: frozenset[str]


@dataclass(slots=True)
class ByName:
    """Of one draft after the other."""

    _before: dict[tuple[str, str], _Of] = field(default_factory=dict)

    def made(self, draft: Draft, wildcard: str) -> Made:
        """wildcard: the address that stands for all."""
        before, now = self._before, dict[tuple[str, str], _Of]()
        by_name: Types = {LDS: {}, RDS: {}, VHDS: {}}
        held: Types = {CDS: {}, LDS: {}}
        for place in demanded.places(draft.listeners, wildcard):
            last = before.get((LDS, place.name))
            if last is None or last.message is not place.message or last.asks != place.asks:
                last = _of_place(place, last)
            now[LDS, place.name] = last
            (held if place.held else by_name)[LDS][place.name] = last.resources[0]
        for table in draft.routes:
            last = before.get((RDS, table.name))
            if last is None or last.message is not table:
                last = _of_table(table, last)
            now[RDS, table.name] = last
            by_name[RDS][table.name] = last.resources[0]
            for host in last.resources[1:]:
                by_name[VHDS] |= dict.fromkeys((host.name, *host.aliases), host)
        for cluster in draft.clusters:
            text = cluster.SerializeToString(deterministic=True)
            held[CDS][cluster.name] = encode(CDS, cluster.name, text)
        self._before = now
        return Made(by_name, held, frozenset().union(*(one.needed for one in now.values())))


def _of_place(place: Place, last: _Of | None) -> _Of:
    message = demanded.listener(place)
    made = encode(LDS, place.name, message.SerializeToString(deterministic=True))
    kept = _kept((made,), last)
    return _Of(place.message, place.asks, kept, demanded.needed(message))


def _of_table(table: RouteConfiguration, last: _Of | None) -> _Of:
    if not demanded.is_fetched(table):
        whole = encode(RDS, table.name, table.SerializeToString(deterministic=True))
        return _Of(table, None, _kept((whole,), last), demanded.copied_to(table))
    text = on_demand.fetched(table).SerializeToString(deterministic=True)
    made = [encode(RDS, table.name, text)]
    for host, aliases in demanded.hosts(table):
        text = host.SerializeToString(deterministic=True)
        made.append(encode(VHDS, host.name, text, aliases))
    return _Of(table, None, _kept(tuple(made), last), frozenset())


def _kept(made: tuple[Resource, ...], last: _Of | None) -> tuple[Resource, ...]:
    """What is as it was stays the same object."""
    known = {one.name: one for one in last.resources} if last is not None else {}
    return tuple(
        old
        if (old := known.get(new.name)) is not None
        and (old.version, old.aliases) == (new.version, new.aliases)
        else new
        for new in made
    )
