"""The whole translation, in its order. Pure: the same snapshot gives the same mesh, sorted."""

from __future__ import annotations

from controlplane.inventory import Snapshot
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.peer_authentication import PeerAuthentication
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import federation, policies, routes, security, services, workloads
from controlplane.translate.peers import PeerModes
from controlplane.translate.report import Report
from controlplane.translate.sidecars import Sidecars


def build(snapshot: Snapshot, trust_domain: str) -> tuple[Mesh, tuple[Status, ...]]:
    """The mesh, and everything there is to say: the sources' statuses and translation's, sorted."""
    report = Report()
    modes = PeerModes(snapshot.of(PeerAuthentication), report)
    sidecars = Sidecars(trust_domain, modes, report)
    translated = services.build(snapshot, sidecars, report)
    with_policies = policies.apply(translated.services, snapshot.of(DestinationRule), report)
    with_rules = routes.apply(with_policies, snapshot.of(VirtualService), report)
    entries = snapshot.of(WorkloadEntry)
    beside = workloads.build(entries, translated.attachments, sidecars, report)
    decided = security.build(snapshot, trust_domain, with_rules, beside, report)
    own = (trust_domain, *decided.trust_domain_aliases)
    foreign = federation.build(snapshot.of(ClusterFederatedTrustDomain), own, report)
    statuses = tuple(sorted({*snapshot.statuses, *report.statuses()}))
    return Mesh(trust_domain, with_rules, beside, decided, foreign), statuses
