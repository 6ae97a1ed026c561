"""The neutral mesh: what every input format becomes and every dialect is emitted from.

Pure data, frozen, sorted by name, so that the same input gives the same bytes. It knows neither
Kubernetes nor Istio nor Envoy; each rule keeps the position of the text that made it, so that
status, explain and errors can point there. Durations are seconds (`_s`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from controlplane.mesh.credentials import Credential
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.policy import Security
from controlplane.mesh.position import NOWHERE as NOWHERE
from controlplane.mesh.position import Position as Position

Protocol = Literal["HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS", "MONGO", "UDP"]
TlsMode = Literal["STRICT", "PERMISSIVE", "DISABLE"]


@dataclass(frozen=True, slots=True)
class StringMatch:
    """Istio's StringMatch: exact, prefix or (RE2, whole string) regex."""

    kind: Literal["exact", "prefix", "regex"]
    value: str


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A claim of the request's token, by its path: a string, or a list that has one. match None:
    it is there. Without a valid token no claim is."""

    path: tuple[str, ...]
    match: StringMatch | None = None
    invert: bool = False


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """One alternative of an HTTP rule; an empty match takes everything.

    headers: name -> matcher, None means "present". without_headers: the same, inverted.
    """

    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch | None] = field(default_factory=dict)
    without_headers: Mapping[str, StringMatch | None] = field(default_factory=dict)
    query_params: Mapping[str, StringMatch | None] = field(default_factory=dict)
    claims: tuple[ClaimMatch, ...] = ()
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    port: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a rule sends a share of requests. `host` is a full host name of a service.

    port None: the port the request came for. resolved False: no such service or subset (the
    request will get 503, and a Status says so)."""

    host: str
    weight: int = 100
    subset: str = ""
    port: int | None = None
    headers: Headers = Headers()
    resolved: bool = True
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class Retry:
    """attempts are retries after the first try. retry_on: Envoy's words, comma-joined by emit."""

    attempts: int
    per_try_timeout_s: float | None = None
    retry_on: tuple[str, ...] = ()
    retriable_status_codes: tuple[int, ...] = ()
    previous_hosts: bool = True


@dataclass(frozen=True, slots=True)
class Redirect:
    uri: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    code: int = 301


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    uri: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One `http:` entry. Exactly one of destinations, redirect, direct_response is set.

    timeout_s: None is no timeout (Istio's default)."""

    matches: tuple[RouteMatch, ...]
    destinations: tuple[Destination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    headers: Headers = Headers()
    name: str = ""
    position: Position = NOWHERE


# --------------------------------------------------------------------------- traffic policy


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """None: not set, the dialect's default holds."""

    max_connections: int | None = None
    connect_timeout_s: float | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    idle_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    interval_s: float | None = None
    base_ejection_time_s: float | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int | None = None


@dataclass(frozen=True, slots=True)
class ClientTls:
    """A DestinationRule's `tls`. None in its place: automatic (mutual where the endpoint can).

    roots, crl, certificate, private_key: names of files at the proxy; roots '' is what its system
    trusts. credential: namespace and name of what stands in place of the files; only proxies of
    that namespace may have it. verifies: whoever answers must show a certificate that is good."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    roots: str = ""
    crl: str = ""
    certificate: str = ""
    private_key: str = ""
    credential: tuple[str, str] | None = None
    verifies: bool = True


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    load_balancer: Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"] = "LEAST_REQUEST"
    pool: ConnectionPool = ConnectionPool()
    outlier: OutlierDetection | None = None
    tls: ClientTls | None = None


@dataclass(frozen=True, slots=True)
class Subset:
    """A named part of a service's endpoints; policy and port_policies are already merged."""

    name: str
    labels: Mapping[str, str]
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    position: Position = NOWHERE


# --------------------------------------------------------------------------- services


@dataclass(frozen=True, slots=True)
class ServicePort:
    number: int
    name: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that serves a service. ports: service port number -> port at `address`.

    mesh: a sidecar answers there with mTLS. identity: its SPIFFE id ('' if unknown)."""

    address: str
    ports: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    mesh: bool = False
    health: Literal["HEALTHY", "UNHEALTHY", "DRAINING"] = "HEALTHY"
    weight: int = 1
    locality: tuple[str, str, str] = ("", "", "")
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """hostname is the full name; aliases are its shorter ones, valid from `namespace` (any of
    them also with ':port'). policy and port_policies come from its DestinationRule."""

    hostname: str
    name: str
    namespace: str
    ports: tuple[ServicePort, ...]
    endpoints: tuple[Endpoint, ...] = ()
    aliases: tuple[str, ...] = ()
    local_aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    resolution: Literal["STATIC", "DNS", "NONE"] = "STATIC"
    external: bool = False
    policy: TrafficPolicy = TrafficPolicy()
    port_policies: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    subsets: tuple[Subset, ...] = ()
    rules: tuple[HttpRule, ...] = ()
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port of a workload: its sidecar listens at listen_*, the application at app_*.

    service_port is the service's port number behind it; hostnames are the services it serves.
    numbers: all port numbers under which policies may know it."""

    listen_address: str
    listen_port: int
    app_address: str
    app_port: int
    protocol: Protocol
    mtls: TlsMode
    name: str = ""
    hostnames: tuple[str, ...] = ()
    service_port: int | None = None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """What a sidecar stands beside: found by namespace and name in its node metadata."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    address: str
    inbound: tuple[InboundPort, ...] = ()
    position: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class Mesh:
    """Everything, each tuple sorted by its key (hostname; namespace and name)."""

    trust_domain: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    security: Security = field(default_factory=Security)
    federated: tuple[ForeignDomain, ...] = ()
    credentials: tuple[Credential, ...] = ()

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Whose identities may come in: the mesh's own, its aliases, and the federated ones."""
        foreign = (domain.trust_domain for domain in self.federated)
        return (self.trust_domain, *self.security.trust_domain_aliases, *foreign)

    def credential(self, namespace: str, name: str) -> Credential | None:
        key = (namespace, name)
        return next((c for c in self.credentials if (c.namespace, c.name) == key), None)

    def service(self, hostname: str) -> Service | None:
        return next((s for s in self.services if s.hostname == hostname), None)

    def workload(self, namespace: str, name: str) -> Workload | None:
        key = (namespace, name)
        return next((w for w in self.workloads if (w.namespace, w.name) == key), None)


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
