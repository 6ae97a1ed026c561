"""EnvoyFilter's patches, applied to what one node is given beside what all proxies share: its
listeners, their routes and its own clusters. One whose value is no message is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableSequence
from typing import Any, TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.message import Message

from controlplane.emit import names
from controlplane.emit.node import Node
from controlplane.emit.patch_values import clusters_in, merge, value_of
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.snapshot import Draft

M = TypeVar("M", bound=Message)


def applied(draft: Draft, patches: Iterable[EnvoyPatch], node: Node) -> Draft:
    """The draft of `node`'s own side with the patches that are for it, in their order."""
    for patch in patches:
        if patch.operation == "REMOVE" or value_of(patch) is not None:
            draft = _applied(draft, patch, node)
    return draft


def _applied(draft: Draft, patch: EnvoyPatch, node: Node) -> Draft:
    clusters, listeners = list(draft.clusters), list(map(_copy, draft.listeners))
    routes = list(map(_copy, draft.routes))
    if patch.apply_to == "CLUSTER":
        _change(clusters, patch, lambda one: _is_cluster(one, patch.match))
    elif patch.apply_to == "LISTENER":
        _change(listeners, patch, lambda one: _is_listener(one, patch, node))
    elif patch.apply_to in ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"):
        _in_routes(listeners, routes, patch, node)
    else:
        for listener in listeners:
            if _is_listener(listener, patch, node):
                _in_listener(listener, patch)
    named = {one.name: one for one in clusters}
    return Draft(
        tuple(named.values()),
        draft.endpoints,
        tuple({one.name: one for one in listeners}.values()),
        tuple(routes),
        draft.secrets,
        draft.unresolved | clusters_in(patch) | {one.name for one in draft.clusters} - named.keys(),
    )


def _copy(message: M) -> M:
    made = type(message)()
    made.CopyFrom(message)
    return made


def _is_cluster(cluster: Cluster, match: PatchMatch) -> bool:
    port = f"|{match.port}|" in cluster.name if match.port else True
    return cluster.name.startswith("inbound|") and port and match.cluster in ("", cluster.name)


def _context(listener: Listener, node: Node) -> Context:
    if listener.traffic_direction == TrafficDirection.INBOUND:
        return "SIDECAR_INBOUND"
    proxy = names.listener("127.0.0.1", node.http_proxy_port)
    return "SIDECAR_OUTBOUND" if listener.name == proxy else "GATEWAY"


def _is_listener(listener: Listener, patch: EnvoyPatch, node: Node) -> bool:
    match = patch.match
    return (
        patch.context in ("ANY", _context(listener, node))
        and match.listener in ("", listener.name)
        and match.port in (0, listener.address.socket_address.port_value)
    )


def _in_listener(listener: Listener, patch: EnvoyPatch) -> None:
    match = patch.match
    if patch.apply_to == "LISTENER_FILTER":
        _change(listener.listener_filters, patch, lambda one: match.filter in ("", one.name))
        return
    if patch.apply_to == "FILTER_CHAIN":
        _change(listener.filter_chains, patch, lambda one: _is_chain(one, match))
        return
    for chain in listener.filter_chains:
        if not _is_chain(chain, match):
            continue
        if patch.apply_to == "NETWORK_FILTER":
            _change(chain.filters, patch, lambda one: match.filter in ("", one.name))
        else:
            _in_managers(chain, match.filter, lambda made: _http_filters(made, patch))


def _is_chain(chain: FilterChain, match: PatchMatch) -> bool:
    names_it = not match.server_name or match.server_name in chain.filter_chain_match.server_names
    transport = chain.filter_chain_match.transport_protocol
    return match.chain in ("", chain.name) and names_it and match.transport in ("", transport)


def _http_filters(manager: hcm_pb2.HttpConnectionManager, patch: EnvoyPatch) -> None:
    wanted = patch.match.http_filter
    _change(manager.http_filters, patch, lambda one: wanted in ("", one.name))


def _in_managers(
    chain: FilterChain, name: str, change: Callable[[hcm_pb2.HttpConnectionManager], None]
) -> None:
    for item in chain.filters:
        manager = hcm_pb2.HttpConnectionManager()
        if name in ("", item.name) and item.typed_config.Unpack(manager):
            change(manager)
            item.typed_config.Pack(manager, deterministic=True)


# --------------------------------------------------------------------------- routes


def _in_routes(
    listeners: Iterable[Listener],
    routes: Iterable[RouteConfiguration],
    patch: EnvoyPatch,
    node: Node,
) -> None:
    """Inline ones of listeners, and those that listeners fetch."""
    fetched: set[str] = set()

    def change(manager: hcm_pb2.HttpConnectionManager) -> None:
        if manager.HasField("rds"):
            fetched.add(manager.rds.route_config_name)
        else:
            _in_table(manager.route_config, patch)

    for listener in listeners:
        outbound = _context(listener, node) == "SIDECAR_OUTBOUND"
        if not outbound and _is_listener(listener, patch, node):
            for chain in listener.filter_chains:
                _in_managers(chain, "", change)
    for table in routes:
        if table.name in fetched:
            _in_table(table, patch)


def _in_table(table: RouteConfiguration, patch: EnvoyPatch) -> None:
    match = patch.match
    if match.route_configuration not in ("", table.name):
        return
    if patch.apply_to == "ROUTE_CONFIGURATION":
        _merge_if_asked(table, patch)
        return
    if patch.apply_to == "VIRTUAL_HOST":
        _change(table.virtual_hosts, patch, lambda one: _is_host(one, match))
        return
    for host in table.virtual_hosts:
        if _is_host(host, match):
            _change(host.routes, patch, lambda one: _is_route(one, match))


def _is_host(host: VirtualHost, match: PatchMatch) -> bool:
    named = match.virtual_host in ("", host.name)
    return named and (not match.domain or match.domain in host.domains)


def _is_route(route: Route, match: PatchMatch) -> bool:
    action = (route.WhichOneof("action") or "").upper()
    return match.route in ("", route.name) and match.route_action in ("ANY", action)


# --------------------------------------------------------------------------- operations


def _change(
    items: MutableSequence[Any], patch: EnvoyPatch, is_meant: Callable[[Any], bool]
) -> None:
    """One operation on a list. INSERT_* stand beside the first that is meant, and at the ends
    where no one is named."""
    value = value_of(patch)
    found = [index for index, one in enumerate(items) if is_meant(one)]
    operation = patch.operation
    if operation == "REMOVE":
        for index in reversed(found):
            del items[index]
    elif operation in ("MERGE", "MERGE_AND_REPLACE_LIST"):
        for index in found:
            _merge_if_asked(items[index], patch)
    elif operation == "REPLACE":
        for index in found:
            items[index].CopyFrom(value)
    elif operation == "ADD":
        items.append(value)
    elif operation == "INSERT_FIRST":
        items.insert(0, value)
    elif found:
        items.insert(found[0] + (operation == "INSERT_AFTER"), value)


def _merge_if_asked(target: Message, patch: EnvoyPatch) -> None:
    """What is set in the value counts; lists are joined (or replaced), and a packed message of the
    same type is merged inside."""
    value = value_of(patch)
    if value is not None and patch.operation.startswith("MERGE"):
        merge(target, value, patch.operation == "MERGE_AND_REPLACE_LIST")
