"""The ports of a workload at which an intercepting sidecar takes connections in."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.emit import limits, originals, stat_names
from controlplane.emit.clusters import serves
from controlplane.emit.endpoints import load_assignment
from controlplane.emit.localities import groups
from controlplane.emit.sidecars.capture import INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, Capture
from controlplane.emit.words import UNIX, is_ipv6
from controlplane.mesh.gateways import ServerTls
from controlplane.mesh.interception import Ingress
from controlplane.mesh.model import (
    ConnectionPool,
    Endpoint,
    InboundPort,
    Protocol,
    TlsMode,
    Workload,
)
from protos.frozen import frozen

ANYWHERE = "0.0.0.0"


@frozen
class Port:
    """match: to which a connection was going, 0 for any other. number: of the service behind it.
    app: address and port of the application, ('', 0) where the connection was going. own_tls: in
    place of the mesh's. stat_name: of its cluster in statistics, '' for its own. hostnames: of the
    services there."""

    match: int
    number: int
    cluster: str
    bind: str
    protocol: Protocol
    assumed: bool
    mtls: TlsMode
    numbers: tuple[int, ...] = ()
    bound: bool = False
    app: tuple[str, int] = ("", 0)
    own_tls: ServerTls | None = None
    pool: ConnectionPool | None = None
    stat_name: str = ""
    hostnames: tuple[str, ...] = ()

    @property
    def stat_prefix(self) -> str:
        """Istio's."""
        known = self.cluster == INBOUND_PASSTHROUGH
        return self.cluster if known else f"inbound_{self.bind}_{self.match}"

    def chain_name(self, http: bool) -> str:
        """Istio's."""
        if self.cluster != INBOUND_PASSTHROUGH:
            return f"{self.bind}_{self.match}"
        return f"{VIRTUAL_INBOUND}-catchall-http" if http else VIRTUAL_INBOUND


def ports_of(workload: Workload, capture: Capture) -> tuple[Port, ...]:
    """Sorted. A Sidecar's ingress stands in place of all that services have; the last are those
    for connections to other ports, each of which has the mode that holds for it."""
    sidecar = capture.sidecar
    if sidecar.ingress:
        found = [_of_ingress(one, workload, capture) for one in sidecar.ingress]
    else:
        found = [_of_service(one, workload, capture) for one in workload.captured]
    found = [one for one in found if one.match != capture.settings.inbound_port]
    taken = {one.match for one in found}
    return (*sorted(found, key=lambda one: one.match), *_others(workload, taken))


def _of_service(port: InboundPort, workload: Workload, capture: Capture) -> Port:
    pattern = capture.settings.inbound_stat_name
    return Port(
        port.listen_port,
        port.service_port or port.listen_port,
        cluster_name(port.listen_port),
        capture.wildcard,
        port.protocol,
        port.assumed,
        port.mtls,
        port.numbers,
        app=_as_meant(("", 0), port.listen_port, capture),
        pool=capture.sidecar.pool,
        stat_name=stat_names.inbound(pattern, port, workload.namespace),
        hostnames=port.hostnames,
    )


def _as_meant(app: tuple[str, int], port: int, capture: Capture) -> tuple[str, int]:
    """Where the application is that nobody says more of (Istio's inboundTrafficPolicy)."""
    if app[0] or not capture.settings.on_loopback:
        return app
    return ("::1" if capture.wildcard == "::" else "127.0.0.1", port)


def _of_ingress(one: Ingress, workload: Workload, capture: Capture) -> Port:
    mode = workload.port_mtls.get(one.port, workload.mtls)
    address, number = _as_meant(one.app, one.port, capture)
    return Port(
        one.port,
        one.port,
        cluster_name(one.port),
        one.bind or workload.address,
        one.protocol or "TCP",
        one.protocol is None,
        mode,
        (one.port,),
        bool(one.bound),
        (workload.address if address == ANYWHERE else address, number),
        one.tls if mode == "DISABLE" else None,
        one.pool or capture.sidecar.pool,
    )


def _others(workload: Workload, taken: set[int]) -> Iterator[Port]:
    modes = {number: mode for number, mode in workload.port_mtls.items() if number not in taken}
    for number, mode in (*sorted(modes.items()), (0, workload.mtls)):
        yield Port(number, 0, INBOUND_PASSTHROUGH, "", "TCP", True, mode)


def cluster_name(number: int) -> str:
    return f"inbound|{number}||"


# --------------------------------------------------------------------------- clusters


def clusters(workload: Workload, capture: Capture) -> dict[str, Cluster]:
    """The ways to the application, by name."""
    found: dict[str, Cluster] = {}
    for port in ports_of(workload, capture):
        if port.cluster not in found:
            keeps_case = capture.settings.keeps_case
            made = found[port.cluster] = _cluster(port, keeps_case)
            if made.type == Cluster.ORIGINAL_DST or not _is_inside(port.app[0]):
                own = is_ipv6(workload.address), bool(capture.second)
                originals.from_own_source(made, *own)
            if capture.transparent:  # it comes from where the client's connection does
                made.ClearField("upstream_bind_config")
    return found


def _is_inside(address: str) -> bool:
    return address.startswith(UNIX) or address in ("127.0.0.1", "::1")


def _cluster(port: Port, keeps_case: bool) -> Cluster:
    cluster = Cluster(name=port.cluster, alt_stat_name=port.stat_name)
    serves(cluster, port.hostnames)
    pool = port.pool or ConnectionPool()
    limits.bound(cluster, pool)
    if port.assumed:
        limits.http_options(cluster, ConnectionPool(as_client=True), "HTTP", keeps_case)
    else:
        limits.http_options(cluster, pool, port.protocol, keeps_case)
    address, number = port.app
    if not address:
        originals.go_as_addressed(cluster)
        return cluster
    cluster.type = Cluster.STATIC
    local = Endpoint(address, {number: number})
    cluster.load_assignment.CopyFrom(load_assignment(cluster.name, groups((local,)), number))
    return cluster
