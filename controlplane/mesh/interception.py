"""What holds for sidecars that intercept the connections of their workload (Istio's REDIRECT and
TPROXY), which is asked of no others: where they listen, what they know at which port, and what
becomes of connections to places that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from controlplane.mesh.gateways import ServerTls
from controlplane.mesh.http_rules import Destination
from controlplane.mesh.imports import Import
from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope
from controlplane.mesh.services import Protocol
from controlplane.mesh.traffic_policy import ConnectionPool
from protos.frozen import frozen

OutboundMode = Literal["ALLOW_ANY", "REGISTRY_ONLY", "ALLOW_ANY_DYNAMIC_DNS"]


@frozen
class OutboundPolicy:
    """What is done with connections and requests to places that are no service of the mesh: they
    go where they are addressed (to `proxy`, where it is set), to what their Host header or server
    name says, or nowhere."""

    mode: OutboundMode = "ALLOW_ANY"
    proxy: Destination | None = None


@frozen
class Interception:
    """Of the whole mesh. detection_timeout_s: how long a listener looks for the first bytes of a
    connection before it goes on without them, 0 for ever. on_loopback: applications are there, and
    not at the address that was asked for. inbound_stat_name: what the ways to the application are
    called in statistics. http_proxy_port: where sidecars have an HTTP proxy for theirs, 0 for none.
    keeps_case: headers of HTTP/1 come to applications in their case. The last three hold for
    sidecars that intercept nothing, too."""

    outbound: OutboundPolicy = OutboundPolicy()
    outbound_port: int = 15001
    inbound_port: int = 15006
    detection_timeout_s: float = 0.0
    on_loopback: bool = False
    inbound_stat_name: str = ""
    http_proxy_port: int = 0
    keeps_case: bool = False


@frozen
class Egress:
    """Services that are known at one port, or with port None at all ports that they have.

    port 0: at `bind`, a unix socket. protocol None: found out by the first bytes. http_proxy: an
    HTTP proxy of the application's. bound: the listener has a socket of its own; None: as the
    sidecar does in general."""

    known: Import
    port: int | None = None
    protocol: Protocol | None = None
    http_proxy: bool = False
    bind: str = ""
    bound: bool | None = None


@frozen
class Ingress:
    """A port at which connections are taken in, in place of those that services have. app: where
    the application is ('' is where the connection was going; a unix socket has no port). tls: in
    place of the mesh's, where that is turned off for the port."""

    port: int
    protocol: Protocol | None
    name: str = ""
    bind: str = ""
    bound: bool | None = None
    app: tuple[str, int] = ("", 0)
    tls: ServerTls | None = None
    pool: ConnectionPool | None = None


@frozen
class Sidecar:
    """What holds for the sidecars of `scope`. outbound None: what holds in the mesh; pool: for
    connections to the application."""

    scope: Scope
    egress: tuple[Egress, ...] = ()
    ingress: tuple[Ingress, ...] = ()
    outbound: OutboundPolicy | None = None
    pool: ConnectionPool | None = None
    position: Position = NOWHERE


NO_SIDECAR = Sidecar(Scope())


def sidecar_of(sidecars: tuple[Sidecar, ...], namespace: str, labels: Mapping[str, str]) -> Sidecar:
    """The one for a workload. sidecars: the most specific first."""
    found = (one for one in sidecars if one.scope.takes(namespace, labels))
    return next(found, NO_SIDECAR)
