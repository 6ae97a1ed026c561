"""EnvoyFilters -> patches of what is emitted for some workloads, in the order of their application.

Istio's order: those of the root namespace first, then by priority, then by age, then by name. What
there is not to be patched is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import get_args

from controlplane.kinds import envoy_filter as kinds
from controlplane.kinds.envoy_filter import EnvoyFilter
from controlplane.kinds.mesh_config import ROOT_NAMESPACE, MeshConfigMap
from controlplane.kinds.regex import fault_of
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.mesh.policy import Normalization
from controlplane.mesh.scopes import Scope
from controlplane.translate import proxy_settings
from controlplane.translate.report import Report
from controlplane.translate.security import path_normalization


def build(
    filters: Iterable[EnvoyFilter], settings: tuple[MeshConfigMap, ...], report: Report
) -> tuple[EnvoyPatch, ...]:
    """Those that can be applied; the others are told. First comes what the MeshConfig says of
    every connection manager."""
    ordered = sorted(filters, key=_order)
    of_mesh = [patch for item in settings for patch in (*_of_paths(item), *_of_proxies(item))]
    return (*of_mesh, *(patch for item in ordered for patch in _patches(item, report)))


def _of_proxies(item: MeshConfigMap) -> Iterator[EnvoyPatch]:
    """For those that say nothing of their own."""
    config = item.data.mesh.default_config
    for one in proxy_settings.patches(config, str(item.key), "data.mesh.defaultConfig"):
        yield replace(one, default=True)


def _order(item: EnvoyFilter) -> tuple[bool, int, str, str]:
    """Those without a time, as of files, count as old; where they stand does not count."""
    of_namespace = item.namespace != ROOT_NAMESPACE
    name = f"{item.name}.{item.namespace}"
    return of_namespace, item.spec.priority, item.metadata.creation_timestamp, name


_PATHS: Mapping[Normalization, Mapping[str, object]] = {
    "BASE": {},
    "NONE": {"normalize_path": False},
    "MERGE_SLASHES": {"merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}
_MANAGER = "envoy.filters.network.http_connection_manager"
_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _of_paths(item: MeshConfigMap) -> Iterator[EnvoyPatch]:
    config = item.data.mesh
    if changed := _PATHS[path_normalization(config)]:
        value = {"typed_config": {"@type": f"type.googleapis.com/{_TYPE}", **changed}}
        yield EnvoyPatch(
            "NETWORK_FILTER",
            "MERGE",
            json.dumps(value),
            match=PatchMatch(filter=_MANAGER),
            object=str(item.key),
            path="data.mesh.pathNormalization",
            position=config.at("pathNormalization"),
        )


def _patches(item: EnvoyFilter, report: Report) -> Iterator[EnvoyPatch]:
    scope = _scope(item)
    for index, one in enumerate(item.spec.config_patches):
        path = f"spec.configPatches[{index}]"
        if fault := _fault(one):
            message = f"{path}: {fault}; it is not applied"
            report.error(item, one.position, "NotSupported", message)
            continue
        _tell(item, one, path, report)
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
    match = one.match
    if one.apply_to == "BOOTSTRAP":
        return "a proxy has its bootstrap before it asks for anything"
    if one.apply_to == "EXTENSION_CONFIG" and one.patch.operation != "ADD":
        return "of the configurations of extensions there are none but those that are added"
    if match.context == "WAYPOINT":
        return "there are no waypoints"
    if match.listener is not None and match.listener.port_name:
        return "Istio knows no match.listener.portName (its patch is for all ports): say portNumber"
    if match.proxy is not None and (fault := fault_of(match.proxy.proxy_version)):
        return f"match.proxy.proxyVersion: {fault}"
    return ""


def _tell(item: EnvoyFilter, one: kinds.ConfigPatch, path: str, report: Report) -> None:
    """What is not what it seems."""
    if one.patch.filter_class != "UNSPECIFIED":
        message = f"{path}.patch.filterClass has no effect: the operation says where a filter goes"
        report.info(item, one.patch.at("filterClass"), "NoEffect", message)
    if one.match.proxy is not None and one.match.proxy.proxy_version:
        message = (
            f"{path}.match.proxy.proxyVersion is about what proxies say as ISTIO_VERSION; Weft's "
            "own say nothing, and are not patched"
        )
        report.info(item, one.match.proxy.at("proxyVersion"), "NoEffect", message)


def _match(match: kinds.PatchMatch) -> PatchMatch:
    listener = match.listener or kinds.ListenerMatch()
    chain = listener.filter_chain or kinds.FilterChainMatch()
    filter_ = chain.filter or kinds.FilterMatch()
    routes = match.route_configuration or kinds.RouteConfigurationMatch()
    host = routes.vhost or kinds.VirtualHostMatch()
    route = host.route or kinds.RouteMatch()
    cluster = match.cluster or kinds.ClusterMatch()
    proxy = match.proxy or kinds.ProxyMatch()
    return PatchMatch(
        listener=listener.name,
        port=listener.port_number or routes.port_number or cluster.port_number,
        chain=chain.name,
        server_name=chain.sni,
        transport=chain.transport_protocol,
        protocols=tuple(filter(None, chain.application_protocols.split(","))),
        destination_port=chain.destination_port,
        filter=listener.listener_filter or filter_.name,
        http_filter=filter_.sub_filter.name if filter_.sub_filter is not None else "",
        route_configuration=routes.name,
        virtual_host=host.name,
        domain=host.domain_name,
        route=route.name,
        route_action=route.action,
        gateway=routes.gateway,
        server=routes.port_name,
        cluster=cluster.name,
        service=cluster.service,
        subset=cluster.subset,
        proxy_version=proxy.proxy_version,
        metadata=tuple(sorted(proxy.metadata.items())),
    )
