"""How a client reaches endpoints that may be in other networks: at their gateways, each of which
has its share of their weight (Istio's split-horizon EDS).

The gateway is told the service by the server name of the mutual TLS that it lets through; so what
takes or is given no mutual TLS of the mesh is not reached from another network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from controlplane.mesh.model import Endpoint, Service, TrafficPolicy, Viewpoint

MOST = (1 << 32) - (1 << 16)
"""What weights may add up to, but for gateways whose share would be less than one."""


def reached(
    endpoints: tuple[Endpoint, ...], service: Service, policy: TrafficPolicy
) -> tuple[Endpoint, ...]:
    """As the client of `service.seen_from` reaches them; those behind a gateway are still one for
    each, with all that is known of them (see `joined`)."""
    if not service.gateways:
        return endpoints
    client = service.seen_from or Viewpoint()
    scale = _scale(service, endpoints)
    return tuple(_each(endpoints, service, policy, client, scale))


def _each(
    endpoints: Iterable[Endpoint],
    service: Service,
    policy: TrafficPolicy,
    client: Viewpoint,
    scale: int,
) -> Iterator[Endpoint]:
    secured = policy.tls is None or policy.tls.mode == "ISTIO_MUTUAL"
    for one in endpoints:
        if client.networks and one.network and one.network not in client.networks:
            continue
        gateways = [gateway for gateway in service.gateways if gateway.network == one.network]
        if is_near(one, client) or not gateways:
            if one.address:
                yield replace(one, weight=(one.weight or 1) * scale) if scale > 1 else one
        elif one.mesh and secured and one.health == "HEALTHY":
            share = max(1, (one.weight or 1) * scale // len(gateways))
            for gateway in gateways:
                ports = dict.fromkeys(one.ports, gateway.port)
                yield replace(
                    one,
                    address=gateway.address,
                    ports=ports,
                    weight=share,
                    workload="",
                    more_addresses=(),
                    through=True,
                )


def is_near(endpoint: Endpoint, client: Viewpoint) -> bool:
    """Where one of the two does not say its network, they are in the same."""
    return not (endpoint.network and client.network) or endpoint.network == client.network


def _scale(service: Service, endpoints: Iterable[Endpoint]) -> int:
    """By which weights can be divided among the gateways of each network, as far as numbers go."""
    counts: dict[str, int] = {}
    for gateway in service.gateways:
        counts[gateway.network] = counts.get(gateway.network, 0) + 1
    total = sum(one.weight or 1 for one in endpoints)
    return max(1, min(math.lcm(*counts.values()), MOST // max(total, 1)))


def joined(endpoints: tuple[Endpoint, ...], port: int) -> tuple[Endpoint, ...]:
    """Those behind the same gateway as one."""
    if not any(one.through for one in endpoints):
        return endpoints
    found: dict[object, Endpoint] = {}
    for index, one in enumerate(endpoints):
        key: object = (one.address, one.ports[port]) if one.through else index
        last = found.get(key)
        found[key] = one if last is None else replace(last, weight=last.weight + one.weight)
    return tuple(found.values())
