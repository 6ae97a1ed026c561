"""EnvoyFilter's patches: which are for a proxy, and a draft with them. One whose value is no
message is left out.

What a proxy has of its own (listeners, their routes, its clusters) is patched by `applied`; what it
has like others of its scope, and the clusters of services, by `outbound`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache

import re2
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.emit import names
from controlplane.emit.gateways.places import ROUTER, place_of
from controlplane.emit.node import Node
from controlplane.emit.own_cluster import ASKED
from controlplane.emit.patch_tables import ROUTES, in_table
from controlplane.emit.patch_values import change, clusters_in, copied, extensions, value_of
from controlplane.mesh.model import Mesh
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.snapshot import Draft
from controlplane.translate import proxy_settings

OUTBOUND = ("ANY", "SIDECAR_OUTBOUND")
_VERSION = "ISTIO_VERSION"
_VERSION_LENGTH = 64
"""Of what a proxy says so much is looked at."""
_IN_LISTENERS = frozenset(
    ("LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER")
)


# --------------------------------------------------------------------------- for whom


def of_node(mesh: Mesh, node: Node, labels: Mapping[str, str]) -> tuple[EnvoyPatch, ...]:
    """All that are for it."""
    own = node.settings
    if not mesh.patches and own is None:
        return ()
    contexts = _contexts(mesh, node)
    of_node = proxy_settings.patches(own, f"Proxy {node.id}", "PROXY_CONFIG") if own else ()
    every = (one for one in mesh.patches if own is None or not one.default)
    return tuple(
        patch
        for patch in (*of_node, *every)
        if patch.context in contexts
        and patch.scope.takes(node.namespace, labels)
        and _is_proxy(patch.match, node.metadata)
    )


def of_scope(found: Iterable[EnvoyPatch], intercepts: bool) -> tuple[EnvoyPatch, ...]:
    """Of those that are for a node the ones that change what it has like others."""
    return tuple(patch for patch in found if _is_of_scope(patch, intercepts))


def _is_of_scope(patch: EnvoyPatch, intercepts: bool) -> bool:
    if patch.apply_to == "CLUSTER":
        return patch.operation != "ADD" and patch.context != "SIDECAR_INBOUND"
    if patch.context not in OUTBOUND:
        return False
    return patch.apply_to in ROUTES or (intercepts and patch.apply_to in _IN_LISTENERS)


def asked_of(patches: Iterable[EnvoyPatch]) -> frozenset[str]:
    """The names of node metadata that they ask for."""
    asked = {name for patch in patches for name, _ in patch.match.metadata}
    versions = any(patch.match.proxy_version for patch in patches)
    return frozenset({ASKED} | asked | ({_VERSION} if versions else set()))


def _contexts(mesh: Mesh, node: Node) -> Collection[Context]:
    """A sidecar on a laptop may be a gateway as well."""
    if node.id.startswith(ROUTER.removesuffix("~")):
        return ("ANY", "GATEWAY")
    sides: tuple[Context, ...] = ("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
    edge = node.gateway is not None or place_of(mesh, node) is not None
    return (*sides, "GATEWAY") if edge else sides


def _is_proxy(match: PatchMatch, metadata: Mapping[str, str]) -> bool:
    if any(metadata.get(name) != value for name, value in match.metadata):
        return False
    version = metadata.get(_VERSION, "")[:_VERSION_LENGTH]
    return not match.proxy_version or bool(version and _pattern(match.proxy_version)(version))


@lru_cache(maxsize=256)
def _pattern(regex: str) -> Callable[[str], object]:
    """Anywhere in the version, as Istio looks for it. In linear time: the pattern of a namespace
    must not hold up the control plane of all."""
    found: Callable[[str], object]
    try:
        found = re2.compile(regex).search
    except re2.error:
        found = _nowhere
    return found


def _nowhere(_: str) -> None:
    return None


# --------------------------------------------------------------------------- what changes


def applied(draft: Draft, patches: Iterable[EnvoyPatch], node: Node) -> Draft:
    """The draft of `node`'s own side with the patches that are for it, in their order."""

    def side(listener: Listener) -> Context:
        if listener.traffic_direction == TrafficDirection.INBOUND:
            return "SIDECAR_INBOUND"
        proxy = names.listener("127.0.0.1", node.http_proxy_port)
        return "SIDECAR_OUTBOUND" if listener.name == proxy else "GATEWAY"

    return _all_applied(draft, patches, side, own=True)


def outbound(draft: Draft, patches: Iterable[EnvoyPatch]) -> Draft:
    """What the nodes of a scope have alike, with the patches of that scope."""
    return _all_applied(draft, patches, lambda _: "SIDECAR_OUTBOUND", own=False)


_Side = Callable[[Listener], Context]


def _all_applied(draft: Draft, patches: Iterable[EnvoyPatch], side: _Side, *, own: bool) -> Draft:
    patches = tuple(patches)
    for patch in patches:
        if patch.apply_to == "EXTENSION_CONFIG":
            continue
        if patch.operation == "REMOVE" or value_of(patch) is not None:
            draft = _applied(draft, patch, side, own)
    if found := extensions(patches):
        for listener in draft.listeners:
            _bring(listener, found)
    return draft


def _applied(draft: Draft, patch: EnvoyPatch, side: _Side, own: bool) -> Draft:
    clusters, listeners = list(draft.clusters), list(map(copied, draft.listeners))
    routes = list(map(copied, draft.routes))
    if patch.apply_to == "CLUSTER":
        change(clusters, patch, lambda one: is_cluster(one.name, patch, own))
    elif patch.apply_to == "LISTENER":
        change(listeners, patch, lambda one: _is_listener(one, patch, side))
    elif patch.apply_to in ROUTES and own:
        _in_own_tables(listeners, routes, patch, side)
    elif patch.apply_to in ROUTES:
        for table in routes:
            in_table(table, patch)
    else:
        for listener in listeners:
            if _is_listener(listener, patch, side):
                _in_listener(listener, patch)
    named = {one.name: one for one in clusters}
    gone = {one.name for one in draft.clusters} - named.keys()
    return Draft(
        tuple(named.values()),
        draft.endpoints,
        tuple({one.name: one for one in listeners}.values()),
        tuple(routes),
        draft.secrets,
        draft.unresolved | clusters_in(patch) | gone,
    )


def is_cluster(name: str, patch: EnvoyPatch, own: bool) -> bool:
    """own: of the node's own clusters only those of its application are meant."""
    direction, _, rest = name.partition("|")
    if direction != ("inbound" if own else "outbound"):
        return False
    if own and patch.context not in ("ANY", "SIDECAR_INBOUND"):
        return False
    match = patch.match
    if match.cluster:
        return match.cluster == name
    port, subset, host = (*rest.split("|", 2), "", "")[:3]
    return (
        match.port in (0, int(port))
        and match.subset in ("", subset)
        and match.service.lower() in ("", host)
    )


# --------------------------------------------------------------------------- listeners


def _is_listener(listener: Listener, patch: EnvoyPatch, side: _Side) -> bool:
    match = patch.match
    return (
        patch.context in ("ANY", side(listener))
        and match.listener in ("", listener.name)
        and match.port in (0, listener.address.socket_address.port_value)
    )


def _in_listener(listener: Listener, patch: EnvoyPatch) -> None:
    match = patch.match
    if patch.apply_to == "LISTENER_FILTER":
        change(listener.listener_filters, patch, lambda one: match.filter in ("", one.name))
        return
    if patch.apply_to == "FILTER_CHAIN":
        change(listener.filter_chains, patch, lambda one: _is_chain(one, match))
        return
    for chain in _chains(listener):
        if not _is_chain(chain, match):
            continue
        if patch.apply_to == "NETWORK_FILTER":
            change(chain.filters, patch, lambda one: match.filter in ("", one.name))
        else:
            _in_managers(chain, match.filter, lambda made: _http_filters(made, patch))


def _chains(listener: Listener) -> list[FilterChain]:
    """With the one of what no other takes."""
    rest = [listener.default_filter_chain] if listener.HasField("default_filter_chain") else []
    return [*listener.filter_chains, *rest]


def _is_chain(chain: FilterChain, match: PatchMatch) -> bool:
    names_it = not match.server_name or match.server_name in chain.filter_chain_match.server_names
    transport = chain.filter_chain_match.transport_protocol
    protocols = chain.filter_chain_match.application_protocols
    return (
        match.chain in ("", chain.name)
        and names_it
        and match.transport in ("", transport)
        and match.destination_port in (0, chain.filter_chain_match.destination_port.value)
        and (not match.protocols or set(match.protocols) <= set(protocols))
    )


def _http_filters(manager: hcm_pb2.HttpConnectionManager, patch: EnvoyPatch) -> None:
    wanted = patch.match.http_filter
    change(manager.http_filters, patch, lambda one: wanted in ("", one.name))


def _in_managers(
    chain: FilterChain, name: str, change_it: Callable[[hcm_pb2.HttpConnectionManager], None]
) -> None:
    for item in chain.filters:
        manager = hcm_pb2.HttpConnectionManager()
        if name in ("", item.name) and item.typed_config.Unpack(manager):
            change_it(manager)
            item.typed_config.Pack(manager, deterministic=True)


def _bring(listener: Listener, found: Mapping[str, AnyMessage]) -> None:
    """What filters would fetch by name (ECDS), they have at once."""

    def bring(manager: hcm_pb2.HttpConnectionManager) -> None:
        for one in manager.http_filters:
            if one.HasField("config_discovery") and one.name in found:
                one.typed_config.CopyFrom(found[one.name])

    for chain in _chains(listener):
        _in_managers(chain, "", bring)


def _in_own_tables(
    listeners: Iterable[Listener],
    routes: Iterable[RouteConfiguration],
    patch: EnvoyPatch,
    side: _Side,
) -> None:
    """Inline ones of listeners, and those that listeners fetch."""
    fetched: set[str] = set()

    def change_it(manager: hcm_pb2.HttpConnectionManager) -> None:
        if manager.HasField("rds"):
            fetched.add(manager.rds.route_config_name)
        else:
            in_table(manager.route_config, patch)

    for listener in listeners:
        if patch.context in ("ANY", side(listener)):
            for chain in _chains(listener):
                _in_managers(chain, "", change_it)
    for table in routes:
        if table.name in fetched:
            in_table(table, patch)
