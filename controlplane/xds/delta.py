"""The incremental variant of xDS (DeltaAggregatedResources), one machine per stream.

    in a request                              means
    first of its type                         subscription; initial_resource_versions is what the
                                              client kept: only differences are sent, and what is
                                              gone meanwhile is removed
    resource_names_subscribe, later           send these, even if the client has them
    resource_names_unsubscribe                forget these, send nothing
    response_nonce (with error_detail)        ACK (NACK) of that response; an unknown one is stale

One request may be several of these at once. A first request for CDS or LDS without names, or the
name `*`, is a subscription to all. Virtual hosts are asked for by any of their domains (aliases);
`sent` knows them by the names that were asked for. To a first request for none of them something is
removed that never was: after an empty answer Envoy's listener would warm for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from controlplane.resources import NOTHING, Resource, Resources
from controlplane.xds.stream import (
    GONE,
    LEGACY_WILDCARD_TYPES,
    NO_HOST,
    WILDCARD,
    Answer,
    Event,
    Stream,
    Subscription,
    by_wildcard,
    rejection_of,
)
from controlplane.xds.wire import Push, delta_push
from protos.types import CDS, EDS, RDS, SDS, VHDS


class DeltaStream(Stream):
    def feed(self, request: DeltaDiscoveryRequest) -> Answer:
        type_url = request.type_url
        subscription = self.subscriptions.get(type_url)
        if subscription is None:
            return self._first(request)
        rejection = rejection_of(request)
        event = _settle(subscription, request.response_nonce, rejection)
        pushes: list[Push] = []
        if request.resource_names_subscribe or request.resource_names_unsubscribe:
            missing = self._follow(subscription, request)
            self._tell_missing(type_url, subscription, missing)
            pushes = self._respond(type_url)
        elif self._rollout.complete:  # as nearly always
            return Answer(event, type_url, rejection or "")
        return Answer(event, type_url, rejection or "", (*pushes, *self._advance()))

    def _first(self, request: DeltaDiscoveryRequest) -> Answer:
        type_url = request.type_url
        subscription = Subscription(sent=dict(request.initial_resource_versions))
        self.subscriptions[type_url] = subscription
        names = set(request.resource_names_subscribe)
        legacy = type_url in LEGACY_WILDCARD_TYPES and not names
        subscription.wild = legacy or WILDCARD in names
        subscription.names = names - {WILDCARD}
        if type_url == VHDS:
            self._take_aliases(subscription)
        subscription.open = subscription.names | subscription.sent.keys()
        self._tell_missing(type_url, subscription, subscription.names)
        must = legacy or WILDCARD in names or (type_url == VHDS and not names)
        pushes = self._respond(type_url, must=must)
        return Answer("subscribe", type_url, "", (*pushes, *self._advance()))

    def _take_aliases(self, subscription: Subscription) -> None:
        """A client tells the versions of virtual hosts by their own names; by those it is told,
        too, what is gone meanwhile."""
        hosts = self._rollout.visible(VHDS)
        sent = {name: one for name, one in subscription.sent.items() if name not in hosts}
        for name in subscription.names:
            found = hosts.get(name) or by_wildcard(hosts, name)
            if found is not None and found.name in subscription.sent:
                sent[name] = subscription.sent[found.name]
        subscription.sent = sent

    def _follow(self, subscription: Subscription, request: DeltaDiscoveryRequest) -> set[str]:
        """Takes over the request's names; answers those it asks for now."""
        for name in request.resource_names_unsubscribe:
            if name == WILDCARD:
                subscription.wild = False
                subscription.sent = {
                    k: v for k, v in subscription.sent.items() if k in subscription.names
                }
            subscription.names.discard(name)
            subscription.sent.pop(name, None)
            subscription.open.add(name)
        asked = set(request.resource_names_subscribe)
        if WILDCARD in asked:
            subscription.wild = True
            subscription.level = NOTHING
            asked.discard(WILDCARD)
        for name in asked:
            subscription.sent.pop(name, None)
        subscription.names |= asked
        subscription.open |= asked
        return asked

    def _tell_missing(self, type_url: str, subscription: Subscription, asked: set[str]) -> None:
        """Marks names that do not exist as held, so that the push removes them: the protocol
        wants an answer for each. Not for secrets (a removed one would end Envoy's waiting)."""
        if type_url == SDS:
            return
        for name in asked:
            if self._wanted_as(type_url, subscription, name) is None:
                subscription.sent.setdefault(name, "?")

    def _push(self, type_url: str, must: bool = False) -> Push | None:
        subscription = self.subscriptions[type_url]
        if type_url == EDS and self._warming:
            subscription.open |= self._warming
            self._forget_warming(subscription)
        visible = self._rollout.visible(type_url)
        if visible is subscription.level and not (subscription.open or must):
            return None
        changed, removed = self._lacking(type_url, subscription, visible)
        if not (changed or removed or must):
            return None
        if type_url == CDS:
            self._note_clusters(tuple(changed))
        return self._send(type_url, subscription, changed, removed)

    def _lacking(
        self, type_url: str, subscription: Subscription, visible: Resources
    ) -> tuple[dict[str, Resource], list[str]]:
        """What the client has to get, by the names it asks for, and to forget."""
        level, named = subscription.level, subscription.names
        names = visible.changed_from(level, of_all=True) if subscription.wild else frozenset()
        if named and type_url == VHDS and visible.changes_wildcards(level):
            names = names | named
        elif named:
            names = names | (visible.changed_from(level) & named)
        if subscription.open:
            names = names | subscription.open
            subscription.open = set()
        subscription.level = visible
        changed, removed, sent = dict[str, Resource](), dict[str, None](), subscription.sent
        for name in sorted(names):
            resource = self._wanted_as(type_url, subscription, name)
            if resource is None:
                if sent.get(name, GONE) != GONE:
                    removed[name] = None
            elif sent.get(name) != resource.version:
                changed[name] = resource
        if type_url == VHDS and removed:
            still = _owners(visible, named)
            removed |= {owner: None for owner in _owners(level, removed) if owner not in still}
        return changed, list(removed)

    def _send(
        self,
        type_url: str,
        subscription: Subscription,
        changed: dict[str, Resource],
        removed: list[str],
    ) -> Push:
        for name, resource in changed.items():
            subscription.sent[name] = resource.version
        for name in removed:
            if name in subscription.names:
                subscription.sent[name] = GONE
            else:
                subscription.sent.pop(name, None)
        if type_url == VHDS and not (changed or removed):
            removed = self._no_hosts()
        subscription.version = self.snapshot.version
        subscription.nonce = self._next_nonce()
        once = _once(changed.values()) if type_url == VHDS else changed.values()
        push = delta_push(type_url, subscription.nonce, subscription.version, once, removed)
        subscription.awaiting[push.nonce] = push
        return push

    def _no_hosts(self) -> list[str]:
        """Of each table of routes, as Envoy looks at what stands before the slash."""
        tables = self.subscriptions.get(RDS, Subscription()).names
        return [f"{table}/{NO_HOST}" for table in sorted(tables)]


def _owners(hosts: Resources, names: Iterable[str]) -> set[str]:
    """By what names virtual hosts go that were asked for by these: Envoy removes by that only."""
    found = (hosts.get(name) or by_wildcard(hosts, name) for name in names)
    return {host.name for host in found if host is not None}


def _once(hosts: Iterable[Resource]) -> list[Resource]:
    """Several names may mean one virtual host, and a response has no name twice."""
    found: dict[str, Resource] = {}
    for host in hosts:
        known = found.setdefault(host.name, host)
        if known.aliases != host.aliases:
            aliases = tuple(dict.fromkeys((*known.aliases, *host.aliases)))
            found[host.name] = replace(known, aliases=aliases)
    return list(found.values())


def _settle(subscription: Subscription, nonce: str, rejection: str | None) -> Event:
    if not nonce:
        return "subscribe"
    return subscription.settle(nonce, rejection) if nonce in subscription.awaiting else "stale"
