"""Everything that a proxy gets as a gateway."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import clients, credentials
from controlplane.emit.access import Guards
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.gateways.listeners import Context, listeners
from controlplane.emit.gateways.places import Place, place_of
from controlplane.emit.node import Node
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh
from controlplane.mesh.telemetry import Logs
from controlplane.snapshot import Draft


def gateways(mesh: Mesh, node: Node, guards: Guards, logs: Logs = DEFAULT) -> Draft:
    """Nothing for a proxy that is no gateway. Private keys go only to one that is proven to be the
    workload which the gateways are for: the others' listeners of TLS stay shut."""
    place = place_of(mesh, node)
    if place is None:
        return Draft()
    targets = Targets(clients.seen(mesh.services, node))
    made = listeners(Context(place, node, guards, targets, mesh.trust_domains, logs))
    return Draft(
        listeners=tuple(made.listeners),
        routes=tuple(made.routes),
        secrets=_secrets(mesh, place) if place.proven else (),
        unresolved=targets.missing,
    )


def _secrets(mesh: Mesh, place: Place) -> tuple[Secret, ...]:
    names = {
        name
        for gateway in place.gateways
        for server in gateway.servers
        if server.tls is not None
        for name in (*server.tls.credentials, server.tls.roots)
        if name is not None
    }
    found = (mesh.credential(*name) for name in sorted(names))
    return tuple(secret for one in found if one is not None for secret in credentials.secrets(one))
