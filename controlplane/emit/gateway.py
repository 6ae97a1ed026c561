"""The laptop's gateway: a listener on which browsers and curl reach every HTTP service by name.

`*.localhost` is this machine to browsers and curl, so a service is `http://greeter.localhost:8080/`
and its request crosses the mesh from here on. The routes are the service's own, rules included.
"""

from __future__ import annotations

from collections import Counter

from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    VirtualHost,
)

from controlplane.emit import clients, listeners, names, routes
from controlplane.emit.access import Guards
from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.node import Node
from controlplane.emit.targets import Targets
from controlplane.mesh.model import Mesh, Service
from controlplane.mesh.telemetry import Logs
from controlplane.snapshot import Draft

UNKNOWN_HOST_BODY = (
    "No service of the mesh has this name. Ask for http://SERVICE.localhost:{port}/\n"
)


def gateway(mesh: Mesh, node: Node, guards: Guards, logs: Logs = DEFAULT) -> Draft:
    """Listener and routes of a node that has metadata WEFT_GATEWAY; nothing for another."""
    if node.gateway is None:
        return Draft()
    address, port = node.gateway
    known = clients.seen(mesh.services, node)
    targets = Targets(known)
    hosts = [
        routes.virtual_host(service, _first_port(service), domains, node, targets)
        for service, domains in _domains(known, port)
    ]
    hosts.append(_unknown_host(port))
    return Draft(
        listeners=(listeners.gateway(address, port, guards, logs, mesh.rule_filters),),
        routes=(routes.configuration(names.GATEWAY_ROUTES, hosts),),
        unresolved=targets.missing,
    )


def _domains(services: tuple[Service, ...], port: int) -> list[tuple[Service, list[str]]]:
    """Each service with its names: SERVICE.NAMESPACE.localhost, and the shorter one for the
    namespace `default` or a name that only one namespace has; each with and without the port."""
    served = [s for s in services if not s.external and routes.http_ports(s)]
    count = Counter(service.name for service in served)
    found = []
    for service in served:
        own = [f"{service.name}.{service.namespace}.localhost"]
        if service.namespace == "default" or count[service.name] == 1:
            own.append(f"{service.name}.localhost")
        found.append((service, sorted([*own, *(f"{name}:{port}" for name in own)])))
    return found


def _first_port(service: Service) -> int:
    return routes.http_ports(service)[0]


def _unknown_host(port: int) -> VirtualHost:
    answer = DirectResponseAction(status=404)
    answer.body.inline_string = UNKNOWN_HOST_BODY.format(port=port)
    route = Route(name=names.UNKNOWN_HOST, direct_response=answer)
    route.match.prefix = "/"
    return VirtualHost(name=names.UNKNOWN_HOST, domains=["*"], routes=[route])
