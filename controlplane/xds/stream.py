"""What both variants of the xDS protocol share: subscriptions, nonces, ACKs, order of pushes.

SANS-IO: requests in, responses out; no grpc, no clock. The rules come from the xDS protocol
document and from what Envoy 1.40 was measured to do; each is named where it is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from controlplane.foreign import printable
from controlplane.resources import NOTHING, Resource, Resources, Snapshot
from controlplane.snapshot import encode
from controlplane.xds.rollout import Rollout
from controlplane.xds.wire import Push
from protos.types import CDS, EDS, LDS, RDS, VHDS

WILDCARD = "*"
LEGACY_WILDCARD_TYPES = frozenset((CDS, LDS))
"""Types where a first request without names means all of them."""

MAX_REJECTION = 16384
"""Characters of a NACK's message that are kept and told."""

NO_HOST = "none"
"""The version of a virtual host that does not exist."""

GONE = ""
"""In place of a version: the client was told that the resource is no more."""

Event = Literal["subscribe", "ack", "nack", "stale"]


def rejection_of(request: DiscoveryRequest | DeltaDiscoveryRequest) -> str | None:
    """The message of a NACK, by a proxy that nobody has to believe; None for anything else."""
    if not request.HasField("error_detail"):
        return None
    said = printable(request.error_detail.message, MAX_REJECTION)
    return said or "rejected without a message"


class Answer(NamedTuple):
    """What one request was and what it led to. detail is a NACK's message."""

    event: Event
    type_url: str
    detail: str = ""
    pushes: tuple[Push, ...] = ()


@dataclass(slots=True)
class Subscription:
    """One type on one stream.

    sent: name -> version that the client has or is about to have. awaiting: nonce -> the response
    that is unanswered. rejected: resource name -> the NACK's message, until it is acknowledged.
    level: as of which resources the client has all that it wants; open: names to look at again.
    """

    names: set[str] = field(default_factory=set)
    wild: bool = False
    named: bool = False
    sent: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    awaiting: dict[str, Push] = field(default_factory=dict)
    version: str = ""
    acked_version: str = ""
    rejected: dict[str, str] = field(default_factory=dict)
    level: Resources = NOTHING
    open: set[str] = field(default_factory=set)

    def settle(self, nonce: str, rejection: str | None) -> Event:
        """Notes the answer to a response: an ACK, or a NACK with its message."""
        push = self.awaiting.pop(nonce)
        if rejection is not None:
            named = [name for name in push.names if name in rejection]
            self.rejected |= dict.fromkeys(named or push.names or [""], rejection)
            return "nack"
        self.acked_version = push.version
        if self.rejected:
            for name in (*push.names, *push.removed, ""):
                self.rejected.pop(name, None)
        return "ack"


class Stream(ABC):
    """The state of one ADS stream. `feed` takes a request, `on_snapshot` a new configuration."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self._rollout = Rollout(snapshot)
        self._nonces = 0
        self._warming: set[str] = set()

    @abstractmethod
    def feed(self, request: Any) -> Answer:
        """Takes the variant's request message."""

    @abstractmethod
    def _push(self, type_url: str, must: bool = False) -> Push | None:
        """A response with what the client lacks; None if it lacks nothing and not `must`."""

    @property
    def names(self) -> int:
        """How many it asks for, of all types; each type counts, too."""
        return sum(len(one.names) + 1 for one in self.subscriptions.values())

    @property
    def snapshot(self) -> Snapshot:
        """Where the client is or is being led."""
        return self._rollout.target

    @property
    def synced(self) -> bool:
        """True when everything was sent and every response was acknowledged."""
        if not self._rollout.complete:
            return False
        for subscription in self.subscriptions.values():
            if subscription.awaiting or subscription.rejected:
                return False
        return True

    @property
    def rejections(self) -> dict[str, dict[str, str]]:
        """type URL -> resource name -> the message of the NACK that stands."""
        return {url: dict(s.rejected) for url, s in self.subscriptions.items() if s.rejected}

    def held(self, type_url: str, name: str) -> str | None:
        """The version of a resource that the client has acknowledged, '' if it has yet to; None
        if it does not want it."""
        subscription = self.subscriptions.get(type_url)
        if subscription is None or not (subscription.wild or name in subscription.names):
            return None
        if name in subscription.rejected or any(
            name in push.names for push in subscription.awaiting.values()
        ):
            return ""
        return subscription.sent.get(name, "")

    def on_snapshot(self, snapshot: Snapshot) -> tuple[Push, ...]:
        self._rollout.begin(snapshot)
        return tuple(self._advance())

    def _advance(self) -> list[Push]:
        """Takes as many stages of the rollout as the answers so far allow."""
        pushes: list[Push] = []
        rollout, subscriptions = self._rollout, self.subscriptions
        while not rollout.complete and not self._waits_for(rollout.gate()):
            subscribed = [t for t in rollout.step() if t in subscriptions]
            pushes += [push for t in subscribed if (push := self._push(t)) is not None]
        return pushes

    def _waits_for(self, types: tuple[str, ...]) -> bool:
        for type_url in types:
            subscription = self.subscriptions.get(type_url)
            if subscription is not None and subscription.awaiting:
                return True
        return False

    def _respond(self, type_url: str, must: bool = False) -> list[Push]:
        """Answers a request; a changed cluster takes its endpoints along."""
        push = self._push(type_url, must)
        if push is None:
            return []
        if type_url != CDS or EDS not in self.subscriptions:
            return [push]
        endpoints = self._push(EDS)
        return [push, endpoints] if endpoints else [push]

    def _wanted(self, type_url: str, subscription: Subscription) -> dict[str, Resource]:
        """All that the client should have. A name that it never had gets a placeholder."""
        visible = self._rollout.visible(type_url)
        names = sorted(subscription.names)
        if subscription.wild:
            names = [*filter(visible.of_all, visible), *names]
        found = ((name, self._wanted_as(type_url, subscription, name)) for name in names)
        return {name: resource for name, resource in found if resource is not None}

    def _wanted_as(self, type_url: str, subscription: Subscription, name: str) -> Resource | None:
        """What the client should have under this name."""
        visible = self._rollout.visible(type_url)
        if name not in subscription.names:
            lazy = not subscription.wild or (visible.lazy and not visible.of_all(name))
            return None if lazy else visible.get(name)
        if (resource := visible.get(name)) is not None:
            return resource
        if type_url == VHDS and (resource := by_wildcard(visible, name)) is not None:
            return resource
        stand_in = placeholder(type_url, name)
        if stand_in is None:
            return None
        held = subscription.sent.get(name, stand_in.version)
        return stand_in if held == stand_in.version else None

    def _note_clusters(self, names: tuple[str, ...]) -> None:
        """A cluster that changed in any way warms until its endpoints come *again*, also the
        same ones; in delta Envoy does not even ask for them (15 s without an ACK otherwise)."""
        self._warming.update(names)

    def _forget_warming(self, subscription: Subscription) -> None:
        for name in self._warming & (subscription.names | set(subscription.sent)):
            subscription.sent.pop(name, None)
        self._warming.clear()

    def _next_nonce(self) -> str:
        self._nonces += 1
        return str(self._nonces)


def by_wildcard(hosts: Resources, name: str) -> Resource | None:
    """The virtual host of `TABLE/HOST`, if it is of a domain like *.example.org, or of `*`."""
    table, _, host = name.rpartition("/")
    wild = []
    while "." in host:
        host = host.partition(".")[2]
        wild.append(f"*.{host}")
    for domain in (*wild, "*"):
        if (found := hosts.get(f"{table}/{domain}")) is not None:
            return replace(found, aliases=(*found.aliases, name))
    return None


def placeholder(type_url: str, name: str) -> Resource | None:
    """What to answer for a name that does not exist, where silence would stall Envoy.

    An unanswered EDS name holds the ACK of its cluster for 15 s; an RDS name reported as removed
    leaves its listener unbound for ever. A secret that is missing is better not answered: its
    listener stays closed until the secret is there.
    """
    if type_url == EDS:
        empty = ClusterLoadAssignment(cluster_name=name).SerializeToString()
    elif type_url == RDS:
        empty = RouteConfiguration(name=name).SerializeToString()
    elif type_url == VHDS:
        # Without a body: Envoy answers 404 at once. A removed one would leave the request hanging.
        return Resource(name, NO_HOST, b"", (name,))
    else:
        return None
    return encode(type_url, name, empty)
