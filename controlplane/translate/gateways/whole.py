"""Gateways of every kind, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.inventory import Snapshot
from controlplane.kinds import core
from controlplane.kinds.gateway_api.gateway import Gateway, GatewayClass, ListenerSet
from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import (
    OldTCPRoute,
    OldTLSRoute,
    OldUDPRoute,
    TCPRoute,
    TLSRoute,
    UDPRoute,
)
from controlplane.kinds.gateway_api.policies import BackendTLSPolicy, ReferenceGrant
from controlplane.mesh.conditions import ObjectConditions, ParentConditions
from controlplane.mesh.gateways import Gateway as NeutralGateway
from controlplane.mesh.model import Service
from controlplane.translate.credentials import Credentials
from controlplane.translate.gateways.authorities import Authorities
from controlplane.translate.gateways.backend_tls import BackendTls
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.gateway_api import GatewayApi
from controlplane.translate.gateways.grants import Grants
from controlplane.translate.gateways.mesh_routes import MeshRoutes
from controlplane.translate.gateways.servers import HttpRouteOrGrpc
from controlplane.translate.report import Report

KINDS = (
    core.ConfigMap,
    core.Namespace,
    core.Service,
    GatewayClass,
    Gateway,
    ListenerSet,
    HTTPRoute,
    GRPCRoute,
    TLSRoute,
    OldTLSRoute,
    TCPRoute,
    OldTCPRoute,
    UDPRoute,
    OldUDPRoute,
    ReferenceGrant,
    BackendTLSPolicy,
)
"""What of a snapshot makes gateways."""


@dataclass(frozen=True, slots=True)
class Translated:
    """services: with the rules and TLS settings that Gateway API gives them."""

    services: tuple[Service, ...]
    gateways: tuple[NeutralGateway, ...] = ()
    conditions: tuple[ObjectConditions, ...] = ()


def build(
    snapshot: Snapshot, services: tuple[Service, ...], credentials: Credentials, report: Report
) -> Translated:
    grants = Grants(snapshot.of(ReferenceGrant))
    authorities = Authorities(snapshot.of(core.ConfigMap), credentials, grants)
    tls = BackendTls(snapshot.of(BackendTLSPolicy), services, authorities, report)
    backends = Backends(tls.services, grants, tls.shut)
    api = GatewayApi(snapshot, backends, authorities, report)
    routes: tuple[HttpRouteOrGrpc, ...] = snapshot.of(HTTPRoute)
    routes += snapshot.of(GRPCRoute)
    in_mesh = MeshRoutes(routes, tls.services, backends, report)
    told = (*api.conditions(), *in_mesh.conditions, *tls.conditions(api.parents_of))
    return Translated(in_mesh.services, api.gateways(), _in_order(told))


def _in_order(told: tuple[ObjectConditions, ...]) -> tuple[ObjectConditions, ...]:
    """Each object once: a route may have gateways and services as parents."""
    found: dict[tuple[str, str, str], ObjectConditions] = {}
    for one in told:
        key = (one.kind, one.namespace, one.name)
        if (first := found.get(key)) is not None:
            parents: tuple[ParentConditions, ...] = (*first.parents, *one.parents)
            one = ObjectConditions(*key, parents=parents)
        found[key] = one
    return tuple(found[key] for key in sorted(found))


def names_in(gateways: tuple[NeutralGateway, ...]) -> Iterator[tuple[str, str]]:
    """The Secrets that gateways' servers name."""
    for gateway in gateways:
        for server in gateway.servers:
            if server.tls is not None:
                yield from server.tls.credentials
                yield from (server.tls.roots,) if server.tls.roots is not None else ()
