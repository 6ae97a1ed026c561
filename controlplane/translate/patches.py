"""EnvoyFilters -> patches of what is emitted for some workloads, in the order of their application.

Istio's order: those of the root namespace first, then by priority, then by age. What a patch is for
and can't be reached (outbound routes and clusters are shared by all proxies) is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from controlplane.kinds import envoy_filter as kinds
from controlplane.kinds.envoy_filter import EnvoyFilter
from controlplane.kinds.mesh_config import ROOT_NAMESPACE
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.mesh.scopes import Scope
from controlplane.translate.index import age
from controlplane.translate.report import Report

_ROUTES = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")
_NOWHERE = ("EXTENSION_CONFIG", "BOOTSTRAP")


def build(filters: Iterable[EnvoyFilter], report: Report) -> tuple[EnvoyPatch, ...]:
    """Those that can be applied; the others are told."""
    ordered = sorted(
        filters, key=lambda one: (one.namespace != ROOT_NAMESPACE, one.spec.priority, age(one))
    )
    return tuple(patch for item in ordered for patch in _patches(item, report))


def _patches(item: EnvoyFilter, report: Report) -> Iterator[EnvoyPatch]:
    scope = _scope(item)
    for index, one in enumerate(item.spec.config_patches):
        path = f"spec.configPatches[{index}]"
        if fault := _fault(one):
            message = f"{path}: {fault}; it is not applied"
            report.error(item, one.position, "NotSupported", message)
            continue
        if one.apply_to in _ROUTES and one.match.context == "ANY":
            message = f"{path}: outbound routes are not patched, only inbound ones and gateways'"
            report.warning(item, one.position, "NotSupported", message)
        value = "" if one.patch.operation == "REMOVE" else one.patch.value
        yield EnvoyPatch(
            one.apply_to,
            one.patch.operation,
            value,
            _context(one.match.context),
            _match(one.match),
            scope,
            str(item.key),
            path,
            one.position,
        )


def _context(word: str) -> Context:
    found: Context = next(one for one in get_args(Context) if one == word)
    return found


def _scope(item: EnvoyFilter) -> Scope:
    namespace = "" if item.namespace == ROOT_NAMESPACE else item.namespace
    if item.spec.target_refs:
        names = tuple(one.name for one in item.spec.target_refs if one.kind == "Gateway")
        return Scope(item.namespace, gateways=names)
    selector = item.spec.workload_selector
    return Scope(namespace, selector.labels if selector is not None else {})


def _fault(one: kinds.ConfigPatch) -> str:
    """Why it can't be applied, or ''."""
    match, adds = one.match, one.patch.operation == "ADD"
    if one.apply_to in _NOWHERE:
        return f"applyTo {one.apply_to} is not supported yet"
    if match.context == "WAYPOINT":
        return "the context WAYPOINT is not supported yet"
    if match.proxy is not None and match.proxy.where:
        return "match.proxy is not supported yet"
    if one.apply_to in _ROUTES and match.context == "SIDECAR_OUTBOUND":
        return "patches of outbound routes are not supported yet"
    if one.apply_to == "CLUSTER" and not adds and match.context != "SIDECAR_INBOUND":
        return "patches of outbound clusters are not supported yet"
    if match.listener is not None and match.listener.port_name:
        return "match.listener.portName is not supported yet"
    routes = match.route_configuration
    if routes is not None and (routes.gateway or routes.port_name):
        return "match.routeConfiguration.gateway and portName are not supported yet"
    return ""


def _match(match: kinds.PatchMatch) -> PatchMatch:
    listener = match.listener or kinds.ListenerMatch()
    chain = listener.filter_chain or kinds.FilterChainMatch()
    filter_ = chain.filter or kinds.FilterMatch()
    routes = match.route_configuration or kinds.RouteConfigurationMatch()
    host = routes.vhost or kinds.VirtualHostMatch()
    route = host.route or kinds.RouteMatch()
    cluster = match.cluster or kinds.ClusterMatch()
    return PatchMatch(
        listener=listener.name,
        port=listener.port_number or routes.port_number or cluster.port_number,
        chain=chain.name,
        server_name=chain.sni,
        transport=chain.transport_protocol,
        filter=listener.listener_filter or filter_.name,
        http_filter=filter_.sub_filter.name if filter_.sub_filter is not None else "",
        route_configuration=routes.name,
        virtual_host=host.name,
        domain=host.domain_name,
        route=route.name,
        route_action=route.action,
        cluster=cluster.name,
    )
