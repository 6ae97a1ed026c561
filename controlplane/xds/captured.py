"""The outbound side of sidecars that intercept connections, made and encoded once for all that are
alike, and of the next mesh only what differs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit import patches
from controlplane.emit.clients import Client
from controlplane.emit.envoy import Patches
from controlplane.emit.sidecars.capture import Capture
from controlplane.emit.sidecars.outbound import Outbound
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Service
from controlplane.mesh.published import Published
from controlplane.resources import Resource
from controlplane.snapshot import Draft, encode
from controlplane.xds.kept import Kept
from protos.types import CDS, LDS, RDS

log = logging.getLogger("weft.controlplane.xds")

Message = Cluster | Listener | RouteConfiguration
Types = dict[str, dict[str, Resource]]
"""Type URL -> name -> resource."""


def _log(name: str, error: Exception) -> None:
    log.error("configuration of %s cannot be built", name, exc_info=error)


@dataclass(slots=True)
class _Side:
    """messages: of which the resources were made."""

    outbound: Outbound
    messages: dict[tuple[str, str], tuple[Message, Resource]] = field(default_factory=dict)


class Captured:
    """Of one mesh after the other."""

    def __init__(self) -> None:
        self._sides: Kept[_Side] = Kept()

    def sweep(self) -> None:
        self._sides.sweep()

    def types(
        self,
        client: Client,
        capture: Capture,
        services: tuple[Service, ...],
        published: tuple[Published, ...],
        alike: Patches = (),
    ) -> Types:
        """services: all that such clients may know, sorted. alike: users' patches."""
        key: Hashable = (client, capture, alike)
        side = self._sides.made(key, _maker(client, capture))
        draft = patches.outbound(side.outbound.draft(services, Targets(()), published), alike)
        return _encoded(side, draft)


def _maker(client: Client, capture: Capture) -> Callable[[], _Side]:
    return lambda: _Side(Outbound(client, capture, _log))


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
