"""A control plane for proxies on demand: virtual hosts (VHDS) and clusters by name, over delta ADS.

A virtual host is asked for as TABLE/HOST and found by any of its domains; one that does not exist
is answered by a resource without a body. Of clusters `*` means those in `unasked`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.service.discovery.v3 import discovery_pb2 as pb
from google.protobuf.message import Message

from protos.types import CDS, VHDS
from tests.support.fake_ads import FakeAds, Stream, packed

WILDCARD = "*"


@dataclass(slots=True)
class FakeDemand(FakeAds):
    """`hosts`: by their own names, as TABLE/NAME. mute: names that get no answer. asked: how often
    each name was subscribed to. held: of the newest stream, by type: the names that are wanted."""

    hosts: dict[str, VirtualHost] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()
    mute: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    held: dict[str, set[str]] = field(default_factory=dict)
    told: dict[str, dict[str, str]] = field(default_factory=dict)

    async def _delta(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._admit(context)
        await self._run(requests, _DemandStream(self, context))


class _DemandStream(Stream):
    def __init__(self, server: FakeDemand, context: Any) -> None:
        super().__init__(server, context)
        self.plane = server
        self.names: dict[str, set[str]] = {}
        server.held = self.names
        server.told = {}

    async def heard(self, request: Any) -> None:
        type_url = request.type_url
        first = type_url not in self.names
        names = self.names.setdefault(type_url, set())
        if first:
            self.wanted[type_url] = None
            self.sent[type_url] = dict(request.initial_resource_versions)
            self.plane.told[type_url] = dict(request.initial_resource_versions)
            if not request.resource_names_subscribe and type_url != VHDS:
                names.add(WILDCARD)
        asked = set(request.resource_names_subscribe)
        self.plane.asked.update(asked)
        names |= asked
        names -= set(request.resource_names_unsubscribe)
        if not first:
            for name in (*asked, *request.resource_names_unsubscribe):
                self.sent[type_url].pop(name, None)
        await self._tell(type_url, asked, must=first)

    async def compare(self, type_url: str, must: bool = False) -> None:
        await self._tell(type_url, set(), must=must)

    async def _tell(self, type_url: str, asked: set[str], must: bool) -> None:
        if type_url == VHDS:
            await self._tell_hosts(asked, must)
            return
        here, sent = self._here(type_url), self.sent[type_url]
        gone = {name for name in {*sent, *asked} - {WILDCARD} if name not in here}
        gone -= self.plane.mute
        changed = {name: one for name, one in here.items() if sent.get(name) != one[0]}
        if not (gone or changed or must):
            return
        response = self._response(type_url, gone)
        for name, (version, message) in changed.items():
            response.resources.add(name=name, version=version).resource.CopyFrom(packed(message))
        self.sent[type_url] = {name: version for name, (version, _) in here.items()}
        await self.context.write(response)

    def _here(self, type_url: str) -> dict[str, tuple[str, Message]]:
        names = self.names[type_url]
        found = dict(self.plane.resources.get(type_url, {}))
        by_all = self.plane.unasked if type_url == CDS else found.keys()
        wanted = (names | by_all if WILDCARD in names else names) - self.plane.mute
        return {name: one for name, one in found.items() if name in wanted}

    async def _tell_hosts(self, asked: set[str], must: bool) -> None:
        sent, names = self.sent[VHDS], self.names[VHDS] - self.plane.mute
        response = self._response(VHDS, set())
        found = {name: self._host(name) for name in names}
        for own in sorted({one for one in found.values() if one}):
            host = self.plane.hosts[own]
            version = str(hash(host.SerializeToString(deterministic=True)))
            if sent.get(own) != version or any(found.get(name) == own for name in asked):
                sent[own] = version
                aliases = sorted(name for name, one in found.items() if one == own)
                item = response.resources.add(name=own, version=version, aliases=aliases)
                item.resource.CopyFrom(packed(host))
        for name in sorted(name for name, one in found.items() if not one and name in asked):
            response.resources.add(name=name, version="none", aliases=[name])
        gone = [name for name in sent if name not in set(found.values())]
        for name in gone:
            del sent[name]
        response.removed_resources.extend(gone)
        if must and not self.names[VHDS]:  # an empty answer would leave Envoy's listener warming
            response.removed_resources.append("table/none")
        if response.resources or response.removed_resources:
            await self.context.write(response)

    def _host(self, name: str) -> str:
        """The own name of the virtual host that is meant; '' if there is none."""
        table, _, asked = name.rpartition("/")
        if name in self.plane.hosts:
            return name
        for own, host in self.plane.hosts.items():
            wild = (one[1:] for one in host.domains if one.startswith("*"))
            fits = asked in host.domains or any(asked.endswith(end) for end in wild)
            if own.startswith(f"{table}/") and fits:
                return own
        return ""

    def _response(self, type_url: str, gone: set[str]) -> pb.DeltaDiscoveryResponse:
        return pb.DeltaDiscoveryResponse(
            type_url=type_url,
            nonce=self.server.next_nonce(),
            removed_resources=sorted(gone),
        )
