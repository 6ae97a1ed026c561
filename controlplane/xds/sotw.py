"""The state-of-the-world variant of xDS (StreamAggregatedResources), one machine per stream.

    request                                   is          answered with
    first of its type, or without a nonce     subscribe   all it names (CDS, LDS: even if none)
    nonce is the last one, error_detail       nack        names that are new, else nothing
    nonce is the last one                     ack         names that are new, else nothing
    nonce is the last one, again              subscribe   the same: only names can have changed
    any other nonce                           stale       nothing: another request is on its way

CDS and LDS responses hold the whole set, absence is removal. Of other types only what changed is
sent: there absence means nothing (Envoy keeps what it has).
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from controlplane.resources import Resource, version_of
from controlplane.xds.stream import (
    LEGACY_WILDCARD_TYPES,
    WILDCARD,
    Answer,
    Event,
    Stream,
    Subscription,
    rejection_of,
)
from controlplane.xds.wire import Push, sotw_push
from protos.types import CDS, EDS


class SotwStream(Stream):
    def feed(self, request: DiscoveryRequest) -> Answer:
        type_url = request.type_url
        subscription = self.subscriptions.get(type_url)
        if subscription is None or not request.response_nonce or not subscription.nonce:
            subscription = self.subscriptions[type_url] = Subscription()
            _follow(type_url, subscription, request.resource_names)
            pushes = self._respond(type_url, must=type_url in LEGACY_WILDCARD_TYPES)
            return Answer("subscribe", type_url, "", (*pushes, *self._advance()))
        if request.response_nonce != subscription.nonce:
            return Answer("stale", type_url)
        return self._answered(subscription, request)

    def _answered(self, subscription: Subscription, request: DiscoveryRequest) -> Answer:
        type_url = request.type_url
        rejection = rejection_of(request)
        event: Event = "subscribe"
        if request.response_nonce in subscription.awaiting:
            event = subscription.settle(request.response_nonce, rejection)
        # Names may change in what otherwise looks like an ACK: same version, same nonce.
        changed = _follow(type_url, subscription, request.resource_names)
        pushes = self._respond(type_url) if changed else []
        return Answer(event, type_url, rejection or "", (*pushes, *self._advance()))

    def _push(self, type_url: str, must: bool = False) -> Push | None:
        subscription = self.subscriptions[type_url]
        if type_url == EDS:
            self._forget_warming(subscription)
        wanted = self._wanted(type_url, subscription)
        changed = [r for r in wanted.values() if subscription.sent.get(r.name) != r.version]
        whole = type_url in LEGACY_WILDCARD_TYPES
        removed = whole and any(name not in wanted for name in subscription.sent)
        if not (changed or removed or must):
            return None
        if type_url == CDS:
            self._note_clusters(tuple(r.name for r in changed))
        return self._send(type_url, subscription, list(wanted.values()) if whole else changed)

    def _send(self, type_url: str, subscription: Subscription, resources: list[Resource]) -> Push:
        if type_url in LEGACY_WILDCARD_TYPES:
            subscription.sent.clear()
            subscription.rejected.clear()
        subscription.sent.update((r.name, r.version) for r in resources)
        subscription.version = version_of(self._wanted(type_url, subscription))
        subscription.nonce = self._next_nonce()
        push = sotw_push(type_url, subscription.nonce, subscription.version, resources)
        subscription.awaiting = {push.nonce: push}  # an older one is not acknowledged any more
        return push


def _follow(type_url: str, subscription: Subscription, names: Iterable[str]) -> bool:
    """Takes over the request's names; True if they changed. None at all means all of them for
    CDS and LDS, but only until a name has been given once."""
    new = set(names)
    before = subscription.names, subscription.wild
    subscription.named = subscription.named or bool(new)
    legacy = type_url in LEGACY_WILDCARD_TYPES and not subscription.named
    subscription.wild = WILDCARD in new or legacy
    subscription.names = new - {WILDCARD}
    if not subscription.wild:
        for name in set(subscription.sent) - subscription.names:
            del subscription.sent[name]
    return before != (subscription.names, subscription.wild)
