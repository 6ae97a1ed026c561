"""Services, their endpoints and the workloads behind them, in the neutral mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from controlplane.mesh.http_rules import HttpRule, Retry
from controlplane.mesh.networks import NetworkGateway
from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.stream_rules import StreamRule
from controlplane.mesh.traffic_policy import ClientPolicy, Subset, TrafficPolicy
from protos.frozen import frozen

Protocol = Literal["HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS", "MONGO", "UDP"]
Resolution = Literal["STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", "NONE"]
TlsMode = Literal["STRICT", "PERMISSIVE", "DISABLE"]


@frozen
class ServicePort:
    """assumed: nobody says what it speaks, and `protocol` is the guess of who can't look at the
    first bytes."""

    number: int
    name: str
    protocol: Protocol
    assumed: bool = False


@frozen
class Endpoint:
    """One place that serves a service. ports: service port number -> port at `address`.

    mesh: a sidecar answers there with mTLS. identity: its SPIFFE id ('' if unknown).
    more_addresses: the same place in another family. network: the one that it is in, '' if nobody
    says; through: it is at the gateway of its network, as it is elsewhere than its client."""

    address: str
    ports: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    mesh: bool = False
    health: Literal["HEALTHY", "UNHEALTHY", "DRAINING"] = "HEALTHY"
    weight: int = 1
    locality: tuple[str, str, str] = ("", "", "")
    workload: str = ""
    more_addresses: tuple[str, ...] = ()
    network: str = ""
    through: bool = False


@frozen
class ClusterSettings:
    """stat_name: what clusters are called in statistics, with Istio's variables; '' for their own
    names. dns_refresh_s: between look-ups where an answer does not say; None: the proxy's own.
    keeps_case: headers of HTTP/1 are sent in the case in which they came."""

    stat_name: str = ""
    dns_refresh_s: float | None = None
    keeps_case: bool = False


@frozen
class Viewpoint:
    """Where a client is (region, zone, subzone; '' is not known), and those of its labels that
    decide which endpoints are near it. network: the one that it is in; networks: those of which it
    sees endpoints, none for all."""

    locality: tuple[str, str, str] = ("", "", "")
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    network: str = ""
    networks: tuple[str, ...] = ()


@frozen
class Service:
    """hostname is the full name; aliases are its shorter ones, valid from `namespace` (any of them
    also with ':port'). policy and port_policies come from its DestinationRule; the first of
    for_clients whose scope takes a client holds in their place. visible_in: namespaces of the
    clients that may know it, None for all. subject_alt_names: by which its TLS is verified where no
    rule says so. retry: of rules that don't speak of it, None for the proxy's own. seen_from: set
    in what one client sees, where its place decides. headless: it has no address of its own, but
    those of its endpoints. as_addressed: set in what a client sees whose connections are
    intercepted: they go where the application sends them. fixed_ports: gateways behind it listen
    at the numbers of its ports, not at those of their endpoints. gateways: of the networks of its
    endpoints. keeps_close: its clients are to take the endpoints of their zone, where nobody says
    otherwise."""

    hostname: str
    name: str
    namespace: str
    ports: tuple[ServicePort, ...]
    endpoints: tuple[Endpoint, ...] = ()
    aliases: tuple[str, ...] = ()
    local_aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    resolution: Resolution = "STATIC"
    external: bool = False
    subject_alt_names: tuple[str, ...] = ()
    visible_in: tuple[str, ...] | None = None
    policy: TrafficPolicy = field(default_factory=TrafficPolicy)
    port_policies: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    subsets: tuple[Subset, ...] = ()
    for_clients: tuple[ClientPolicy, ...] = ()
    rules: tuple[HttpRule, ...] = ()
    stream_rules: tuple[StreamRule, ...] = ()
    seen_from: Viewpoint | None = None
    retry: Retry | None = None
    headless: bool = False
    as_addressed: bool = False
    fixed_ports: bool = False
    gateways: tuple[NetworkGateway, ...] = ()
    keeps_close: bool = False
    clusters: ClusterSettings = ClusterSettings()
    position: Position = NOWHERE


@frozen
class InboundPort:
    """A port of a workload: its sidecar listens at listen_*, the application at app_*. Of
    connections that are intercepted listen_port is where they go, and app_address '' stands for
    their destination.

    service_port is the service's port number behind it; hostnames are the services it serves.
    numbers: all port numbers under which policies may know it. assumed: as of a ServicePort."""

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
    assumed: bool = False


@frozen
class Workload:
    """What a sidecar stands beside: found by namespace and name in its node metadata.

    inbound: where a sidecar listens by itself (explicit mode). captured: the ports that services
    have there, for a sidecar that intercepts connections; mtls holds for its other ports, but for
    those of port_mtls. Of a pod: all of its addresses, and whether a sidecar was injected.
    locality, network: where it stands, which its proxy may not know."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    address: str
    inbound: tuple[InboundPort, ...] = ()
    captured: tuple[InboundPort, ...] = ()
    mtls: TlsMode = "PERMISSIVE"
    port_mtls: Mapping[int, TlsMode] = field(default_factory=dict)
    pod: bool = False
    addresses: tuple[str, ...] = ()
    has_sidecar: bool = False
    locality: tuple[str, str, str] = ("", "", "")
    network: str = ""
    position: Position = NOWHERE
