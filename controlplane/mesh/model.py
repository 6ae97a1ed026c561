"""The neutral mesh: what every input format becomes and every dialect is emitted from.

Pure data, frozen, sorted by name, so that the same input gives the same bytes. It knows neither
Kubernetes nor Istio nor Envoy; each rule keeps the position of the text that made it, so that
status, explain and errors can point there. Durations are seconds (`_s`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.credentials import Credential
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.gateways import Gateway
from controlplane.mesh.http_rules import ClaimMatch as ClaimMatch
from controlplane.mesh.http_rules import Cors as Cors
from controlplane.mesh.http_rules import Destination as Destination
from controlplane.mesh.http_rules import DirectResponse as DirectResponse
from controlplane.mesh.http_rules import Fault as Fault
from controlplane.mesh.http_rules import HeaderOperations as HeaderOperations
from controlplane.mesh.http_rules import Headers as Headers
from controlplane.mesh.http_rules import HttpRule as HttpRule
from controlplane.mesh.http_rules import Mirror as Mirror
from controlplane.mesh.http_rules import Redirect as Redirect
from controlplane.mesh.http_rules import Retry as Retry
from controlplane.mesh.http_rules import Rewrite as Rewrite
from controlplane.mesh.http_rules import RouteMatch as RouteMatch
from controlplane.mesh.http_rules import StringMatch as StringMatch
from controlplane.mesh.imports import Import
from controlplane.mesh.interception import Interception, Sidecar
from controlplane.mesh.metering import ScopedMetrics
from controlplane.mesh.patches import EnvoyPatch
from controlplane.mesh.pods import Pods
from controlplane.mesh.policy import Security
from controlplane.mesh.position import NOWHERE as NOWHERE
from controlplane.mesh.position import Position as Position
from controlplane.mesh.published import Published
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters
from controlplane.mesh.services import ClusterSettings as ClusterSettings
from controlplane.mesh.services import Endpoint as Endpoint
from controlplane.mesh.services import InboundPort as InboundPort
from controlplane.mesh.services import Protocol as Protocol
from controlplane.mesh.services import Resolution as Resolution
from controlplane.mesh.services import Service as Service
from controlplane.mesh.services import ServicePort as ServicePort
from controlplane.mesh.services import TlsMode as TlsMode
from controlplane.mesh.services import Viewpoint as Viewpoint
from controlplane.mesh.services import Workload as Workload
from controlplane.mesh.stream_rules import StreamMatch as StreamMatch
from controlplane.mesh.stream_rules import StreamRule as StreamRule
from controlplane.mesh.telemetry import ScopedLogs
from controlplane.mesh.tracing import ScopedTraces
from controlplane.mesh.traffic_policy import ClientPolicy as ClientPolicy
from controlplane.mesh.traffic_policy import ClientTls as ClientTls
from controlplane.mesh.traffic_policy import ConnectionPool as ConnectionPool
from controlplane.mesh.traffic_policy import ConsistentHash as ConsistentHash
from controlplane.mesh.traffic_policy import Cookie as Cookie
from controlplane.mesh.traffic_policy import Localities as Localities
from controlplane.mesh.traffic_policy import OutlierDetection as OutlierDetection
from controlplane.mesh.traffic_policy import RetryBudget as RetryBudget
from controlplane.mesh.traffic_policy import Subset as Subset
from controlplane.mesh.traffic_policy import TcpKeepalive as TcpKeepalive
from controlplane.mesh.traffic_policy import TrafficPolicy as TrafficPolicy
from controlplane.mesh.traffic_policy import Warmup as Warmup
from protos.frozen import frozen


@frozen
class Mesh:
    """Everything, each tuple sorted by its key (hostname; namespace and name)."""

    trust_domain: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    security: Security = field(default_factory=Security)
    federated: tuple[ForeignDomain, ...] = ()
    credentials: tuple[Credential, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    conditions: tuple[ObjectConditions, ...] = ()
    imports: tuple[Import, ...] = ()
    patches: tuple[EnvoyPatch, ...] = ()
    interception: Interception = field(default_factory=Interception)
    sidecars: tuple[Sidecar, ...] = ()
    logs: tuple[ScopedLogs, ...] = ()
    metrics: tuple[ScopedMetrics, ...] = ()
    traces: tuple[ScopedTraces, ...] = ()
    pods: Pods = field(default_factory=Pods)
    published: tuple[Published, ...] = ()
    rule_filters: RuleFilters = NO_FILTERS
    _services: Mapping[str, Service] = field(init=False, repr=False, compare=False)
    _workloads: Mapping[tuple[str, str], Workload] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        services = {service.hostname: service for service in reversed(self.services)}
        workloads = {(one.namespace, one.name): one for one in reversed(self.workloads)}
        object.__setattr__(self, "_services", services)
        object.__setattr__(self, "_workloads", workloads)

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Whose identities may come in: the mesh's own, its aliases, and the federated ones."""
        federated = (domain.trust_domain for domain in self.federated)
        return tuple(dict.fromkeys((*self.own_domains, *federated)))

    @property
    def own_domains(self) -> tuple[str, ...]:
        """The names of the mesh's own trust domain, the first one first."""
        return (self.trust_domain, *self.security.trust_domain_aliases)

    def credential(self, namespace: str, name: str) -> Credential | None:
        key = (namespace, name)
        return next((c for c in self.credentials if (c.namespace, c.name) == key), None)

    def service(self, hostname: str) -> Service | None:
        return self._services.get(hostname)

    def workload(self, namespace: str, name: str) -> Workload | None:
        """Of a WorkloadEntry."""
        return self._workloads.get((namespace, name))

    def workload_of(self, namespace: str, pod: str, name: str) -> Workload | None:
        """What a proxy stands beside that says its pod's name, and its workload's: a Deployment's
        where Istio's agent says it, which may be that of a WorkloadEntry, too."""
        found = self.pods.get(namespace, pod) if pod else None
        return found or self.workload(namespace, name)


# --------------------------------------------------------------------------- status


@dataclass(frozen=True, slots=True, order=True)
class Status:
    """What translation has to say about one object: the only way anything is reported.

    object is 'Kind namespace/name'. code is a stable word ('UnknownService', 'Shadowed' ...)."""

    position: Position
    severity: Literal["error", "warning", "info"]
    code: str
    object: str
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.severity}: {self.message} ({self.object})"
