"""Streams of proxies as a control plane's rooms see them, without any network."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from certs.authority import Authority
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from controlplane.ca.sds import SdsSecrets
from controlplane.emit.node import Node
from controlplane.resources import Snapshot, assemble
from controlplane.rotation.roster import ProxyKey, Roster, key_of
from controlplane.snapshot import Draft
from controlplane.xds.delta import DeltaStream
from controlplane.xds.service import Connection
from protos.types import SDS
from tests.support.mesh import node as make_node

CART = SpiffeId.workload("cluster.local", "default", "cart")
SHOP = SpiffeId.workload("cluster.local", "default", "shop")


class Meshed:
    """One proxy that follows SDS. acknowledges: it answers what it is pushed, at once.
    stranger: of the identity SHOP, not CART."""

    def __init__(
        self,
        name: str,
        sds: SdsSecrets,
        roster: Roster,
        *,
        weft_agent: bool = True,
        names: tuple[str, ...] = ("ROOTCA",),
        leaf_of: Authority | None = None,
        now: float = 0.0,
        acknowledges: bool = True,
        stranger: bool = False,
    ) -> None:
        self._sds = sds
        self._roster = roster
        self._now = now
        self.acknowledges = acknowledges
        self.node: Node = make_node(name, "cart", weft_agent=weft_agent)
        self.machine = DeltaStream(self._snapshot())
        self.connection = Connection(
            self.node, SHOP if stranger else CART, "delta", now, self.machine
        )
        if leaf_of is not None:
            self.renew(leaf_of)
        if names:
            request = DeltaDiscoveryRequest(type_url=SDS, resource_names_subscribe=names)
            self._answer(self.machine.feed(request).pushes)
        roster.changed(self.connection)

    @property
    def id(self) -> str:
        return self.node.id

    @property
    def key(self) -> ProxyKey:
        return key_of(self.connection)

    def renew(self, authority: Authority, ttl_s: float = 600.0) -> None:
        """It comes with a certificate of this authority now."""
        key = generate_key().public_key()
        self.connection.leaf = authority.sign(key, CART, ttl_s, self._now)[0]

    def look(self) -> None:
        """The control plane publishes: it is pushed what is new."""
        self._answer(self.machine.on_snapshot(self._snapshot()))

    def answer(self, refusal: str = "") -> None:
        """Answers all that it was pushed."""
        for nonce in list(self.machine.subscriptions[SDS].awaiting):
            request = DeltaDiscoveryRequest(type_url=SDS, response_nonce=nonce)
            if refusal:
                request.error_detail.message = refusal
            self.machine.feed(request)

    def go(self, *, in_order: bool = False) -> None:
        self.connection.open = False
        self.connection.left = in_order
        self._roster.changed(self.connection)

    def _answer(self, pushes: object) -> None:
        if pushes and self.acknowledges:
            self.answer()

    def _snapshot(self) -> Snapshot:
        secrets: tuple[Secret, ...] = self._sds(self.node)
        return assemble(Draft(secrets=secrets).encode())
