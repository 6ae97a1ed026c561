"""The whole translation, in its order. Pure: the same snapshot gives the same mesh, sorted.

    kinds ─ services (names, ports) ─ policies ─ rules ─ gateways ─┐
          └ endpoints, found with workloads and lists ─────────────┴ joined: the mesh's services
                                              └ workloads ─ security

What was translated before is given back as it was (`memo`): a change costs what it concerns.
"""

from __future__ import annotations

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.envoy_filter import EnvoyFilter
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.gateway import Gateway as IstioGateway
from controlplane.kinds.peer_authentication import PeerAuthentication
from controlplane.kinds.secrets import Secret
from controlplane.kinds.service_entry import ServiceEntry, WorkloadEntry
from controlplane.kinds.sidecar import Sidecar
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import (
    federation,
    imports,
    patches,
    policies,
    routes,
    security,
    services,
    telemetry,
    workloads,
)
from controlplane.translate.credentials import Credentials, names_in
from controlplane.translate.delegates import Delegates
from controlplane.translate.gateways import whole as gateways
from controlplane.translate.index import Hosts, Listed, Workloads
from controlplane.translate.memo import Memo
from controlplane.translate.peers import PeerModes
from controlplane.translate.sidecars import Sidecars


def build(
    snapshot: Snapshot, trust_domain: str, memo: Memo | None = None
) -> tuple[Mesh, tuple[Status, ...]]:
    """The mesh, and everything there is to say: the sources' statuses and translation's, sorted.

    memo: of earlier builds, with the same trust domain."""
    memo = memo or Memo()
    report = memo.begin()
    of = snapshot.of
    entries = of(WorkloadEntry)
    modes = memo.index("modes", PeerModes, of(PeerAuthentication), report)
    sidecars = memo.index("sidecars", Sidecars, trust_domain, modes, report)
    selectable = memo.index("workloads", Workloads, entries)
    listed = memo.once("listed", Listed, of(core.Endpoints), of(core.EndpointSlice))
    credentials = memo.index("credentials", Credentials, of(Secret))

    named = memo.stage("named", services.named, of(core.Service), of(ServiceEntry), report)
    places = memo.stage("places", services.reached, named, selectable, listed, sidecars, report)
    plain = memo.once("plain", services.alone, named)
    hosts = memo.index("hosts", Hosts, plain)
    with_policies = memo.stage(
        "policies", policies.apply, plain, of(DestinationRule), hosts, credentials, report
    )
    subsets = memo.index("subsets", Hosts, with_policies)
    delegates = memo.index("delegates", Delegates, of(VirtualService))
    with_rules = memo.stage(
        "routes", routes.apply, with_policies, of(VirtualService), subsets, delegates, report
    )
    attached = memo.once("attached", services.attachments, places)
    beside = memo.stage("beside", workloads.build, entries, attached, sidecars, report)
    proxies = memo.once("proxies", gateways.proxies, of(IstioGateway), beside)
    edging, lookups = snapshot.only(*gateways.KINDS), (subsets, delegates, credentials)
    edges = memo.once("gateways", gateways.build, edging, with_rules, proxies, lookups, report)
    every = memo.stage("joined", services.joined, edges.services, places)

    deciding = snapshot.only(*security.KINDS)
    decided = memo.once("security", security.build, deciding, trust_domain, plain, beside, report)
    own = (trust_domain, *decided.trust_domain_aliases)
    foreign = memo.once(
        "federation", federation.build, of(ClusterFederatedTrustDomain), own, report
    )
    asked_for = (*names_in(with_policies), *gateways.names_in(edges.gateways))
    used = memo.once("used", Credentials.named, credentials, asked_for, report)
    known = memo.once("imports", imports.build, of(Sidecar), report)
    patched = memo.once("patches", patches.build, of(EnvoyFilter), report)
    logging = memo.once("telemetry", telemetry.build, snapshot.only(*telemetry.KINDS), report)
    mesh = Mesh(
        trust_domain,
        every,
        beside,
        decided,
        foreign,
        used,
        edges.gateways,
        edges.conditions,
        known,
        patched,
        logs=logging,
    )
    return mesh, memo.statuses(snapshot.statuses)
