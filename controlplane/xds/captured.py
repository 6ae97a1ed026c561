"""The outbound side of sidecars that intercept connections, made and encoded once for all that are
alike, and of the next mesh only what differs."""

from __future__ import annotations

import logging
from collections import ChainMap
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import patches
from controlplane.emit.clients import Client
from controlplane.emit.envoy import Patches
from controlplane.emit.fitting import Attempt, fitted
from controlplane.emit.sidecars.capture import Capture
from controlplane.emit.sidecars.outbound import Outbound
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Service
from controlplane.mesh.published import Published
from controlplane.resources import NO_LAYER, Layer, Resource
from controlplane.snapshot import Draft, check, encode
from controlplane.xds.by_name import ByName, Made, Types
from controlplane.xds.kept import Kept, same
from controlplane.xds.troubles import Trouble
from protos.types import CDS, LDS, RDS

log = logging.getLogger("weft.controlplane.xds")

Message = Cluster | Listener | RouteConfiguration


class Beside(NamedTuple):
    """Clusters and tables of routes by name."""

    clusters: tuple[Layer, ...] = ()
    tables: Layer = NO_LAYER


NOTHING = Beside()


def _log(name: str, error: Exception) -> None:
    log.error("configuration of %s cannot be built", name, exc_info=error)


@dataclass(slots=True)
class _Side:
    """messages: of which the resources were made. patched: the draft with users' patches, made of
    `ground`."""

    outbound: Outbound
    messages: dict[tuple[str, str], tuple[Message, Resource]] = field(default_factory=dict)
    trouble: Trouble | None = None
    ground: tuple[object, ...] = ()
    patched: Draft | None = None
    by_name: ByName = field(default_factory=ByName)
    made: Made | None = None
    made_of: tuple[object, ...] = ()


class Captured:
    """Of one mesh after the other."""

    def __init__(self) -> None:
        """restate is called when `troubles` are others."""
        self._sides: Kept[_Side] = Kept()
        self.restate: Callable[[], None] = lambda: None

    def sweep(self) -> None:
        self._sides.sweep()

    def types(
        self,
        client: Client,
        capture: Capture,
        services: tuple[Service, ...],
        published: tuple[Published, ...],
        alike: Patches = (),
        beside: Beside = NOTHING,
    ) -> Made:
        """Of those on demand a part is by name. services: all that such clients may know, sorted.
        alike: users' patches, of which those are left out that would leave something dangling.
        beside: clusters and tables that such clients have besides."""
        side = self._side(client, capture, alike)
        draft = side.outbound.draft(services, Targets(()), published)
        if alike:
            draft = self._patched(side, draft, alike, beside, client)
        ground = (*draft.clusters, *draft.listeners, *draft.routes)
        if side.made is None or not same(side.made_of, ground):
            side.made, side.made_of = _made(side, capture, draft), ground
        return side.made

    def prepare(
        self,
        client: Client,
        capture: Capture,
        services: tuple[Service, ...],
        published: tuple[Published, ...],
        alike: Patches,
    ) -> Iterator[None]:
        """Makes most of that, a little at a time."""
        side = self._side(client, capture, alike)
        return side.outbound.prepare(services, Targets(()), published)

    def _side(self, client: Client, capture: Capture, alike: Patches) -> _Side:
        key: Hashable = (client, capture, alike)
        return self._sides.made(key, _maker(client, capture))

    def _patched(
        self, side: _Side, bare: Draft, alike: Patches, beside: Beside, client: Client
    ) -> Draft:
        """The last one, if it was made of the very same."""
        ground = (*bare.clusters, *bare.listeners, *bare.routes, *beside.clusters, beside.tables)
        if side.patched is not None and same(side.ground, ground):
            return side.patched
        found = fitted(alike, partial(_attempt, bare, beside))
        who = f"the intercepting sidecars of {client.namespace!r}"
        trouble = Trouble(who, found.left_out) or None
        if trouble != side.trouble:
            side.trouble = trouble
            if trouble is not None:
                log.error("%s", trouble)
            self.restate()
        side.ground = ground
        side.patched = bare if found.attempt.made is None else found.attempt.made
        return side.patched

    def troubles(self) -> Iterator[Trouble]:
        return (side.trouble for side in self._sides.values() if side.trouble is not None)

    def trouble_of(self, client: Client, capture: Capture, alike: Patches) -> Trouble | None:
        found = self._sides.last((client, capture, alike))
        return found[1].trouble if found is not None else None


def _attempt(bare: Draft, beside: Beside, kept: Patches) -> Attempt[Draft]:
    """What dangles without any patch is no patch's fault: a service that could not be made."""
    if not kept:
        return Attempt(bare)
    try:
        made = patches.outbound(bare, kept)
        known = ChainMap(*beside.clusters), beside.tables
        problems = check(made, *known)
    except Exception as error:
        log.exception("what intercepting sidecars share cannot be patched")
        return Attempt(problems=(str(error) or type(error).__name__,))
    before = frozenset(check(bare, *known)) if problems else frozenset()
    return Attempt(made, tuple(one for one in problems if one not in before))


def _maker(client: Client, capture: Capture) -> Callable[[], _Side]:
    return lambda: _Side(Outbound(client, capture, _log))


def _made(side: _Side, capture: Capture, draft: Draft) -> Made:
    if capture.on_demand:
        return side.by_name.made(draft, capture.wildcard)
    return Made({}, _encoded(side, draft))


def _encoded(side: _Side, draft: Draft) -> Types:
    """A message that is the same, or has the same bytes, has the same resource."""
    before, side.messages = side.messages, {}
    found: Types = {}
    groups: tuple[tuple[str, tuple[Message, ...]], ...] = (
        (CDS, draft.clusters),
        (LDS, draft.listeners),
        (RDS, draft.routes),
    )
    for url, messages in groups:
        made = found[url] = {}
        for message in messages:
            last = before.get((url, message.name))
            if last is None or last[0] is not message:
                last = (message, _resource(url, message, last))
            side.messages[url, message.name] = last
            made[message.name] = last[1]
    return found


def _resource(url: str, message: Message, last: tuple[Message, Resource] | None) -> Resource:
    made = encode(url, message.name, message.SerializeToString(deterministic=True))
    return last[1] if last is not None and last[1].version == made.version else made
