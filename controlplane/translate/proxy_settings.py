"""Istio's proxyHeaders and gatewayTopology -> patches of what is emitted for every proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controlplane.kinds.proxy_settings import GatewayTopology, ProxyHeaders, ProxySettings
from controlplane.mesh.patches import Context, EnvoyPatch, PatchMatch
from controlplane.mesh.position import Position

MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
_TYPES = "type.googleapis.com/envoy.extensions.filters."
_MANAGER_TYPE = f"{_TYPES}network.http_connection_manager.v3.HttpConnectionManager"
_KEEPS_CASE = {
    "stateful_formatter": {
        "name": "preserve_case",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3."
            "PreserveCaseFormatterConfig"
        },
    }
}


def patches(settings: ProxySettings, said_by: str, path: str) -> tuple[EnvoyPatch, ...]:
    """said_by: the object, as in a Status; path: of the settings in it. Each names itself as
    `default`: it is not for proxies that say settings of their own."""
    headers, topology = settings.proxy_headers, settings.gateway_topology
    found = [
        *_of_headers(headers, f"{path}.proxyHeaders", settings.at("proxyHeaders")),
        *_of_topology(topology, f"{path}.gatewayTopology", settings.at("gatewayTopology")),
    ]
    return tuple(
        EnvoyPatch(kind, operation, value, context, match, object=said_by, path=at, position=place)
        for kind, operation, value, context, match, at, place in found
    )


_Patch = tuple[str, str, str, Context, PatchMatch, str, Position]


def of_managers(
    fields: dict[str, Any], context: Context, path: str, position: Position
) -> Iterator[_Patch]:
    if fields:
        value = json.dumps({"typed_config": {"@type": _MANAGER_TYPE, **fields}})
        match = PatchMatch(filter=MANAGER)
        yield "NETWORK_FILTER", "MERGE", value, context, match, path, position


def _of_headers(headers: ProxyHeaders, path: str, at: Position) -> Iterator[_Patch]:
    everywhere: dict[str, Any] = {}
    if headers.server.disabled:
        everywhere["server_header_transformation"] = "PASS_THROUGH"
    elif headers.server.value:
        everywhere["server_name"] = headers.server.value
    if headers.request_id.disabled:
        everywhere["generate_request_id"] = False
    if headers.x_forwarded_port.enabled:
        everywhere["append_x_forwarded_port"] = True
    if headers.preserve_http1_header_case:
        everywhere["http_protocol_options"] = {"header_key_format": _KEEPS_CASE}
    yield from of_managers(everywhere, "ANY", path, at)
    yield from of_managers(_of_certificates(headers), "SIDECAR_INBOUND", path, at)
    if headers.envoy_debug_headers.disabled:
        kind = f"{_TYPES}http.router.v3.Router"
        value = json.dumps({"typed_config": {"@type": kind, "suppress_envoy_headers": True}})
        match = PatchMatch(filter=MANAGER, http_filter=_ROUTER)
        yield "HTTP_FILTER", "MERGE", value, "ANY", match, path, at
    if headers.attempt_count.disabled:
        value = json.dumps({"include_request_attempt_count": True})
        yield "VIRTUAL_HOST", "CLEAR", value, "ANY", PatchMatch(), path, at
    if headers.x_forwarded_host.enabled:
        value = json.dumps({"route": {"append_x_forwarded_host": True}})
        match = PatchMatch(route_action="ROUTE")
        yield "HTTP_ROUTE", "MERGE", value, "ANY", match, path, at


def _of_certificates(headers: ProxyHeaders) -> dict[str, Any]:
    """Of x-forwarded-client-cert, where workloads are asked."""
    fields: dict[str, Any] = {}
    if headers.forwarded_client_cert != "UNDEFINED":
        fields["forward_client_cert_details"] = headers.forwarded_client_cert
    if (details := headers.set_current_client_cert_details) is not None:
        words = ("subject", "cert", "chain", "dns", "uri")
        given = {word: getattr(details, word) for word in words}
        fields["set_current_client_cert_details"] = {
            k: v for k, v in given.items() if v is not None
        }
    return fields


def _of_topology(topology: GatewayTopology, path: str, at: Position) -> Iterator[_Patch]:
    fields: dict[str, Any] = {}
    if topology.num_trusted_proxies:
        fields["xff_num_trusted_hops"] = topology.num_trusted_proxies
    if topology.forward_client_cert_details != "UNDEFINED":
        fields["forward_client_cert_details"] = topology.forward_client_cert_details
    yield from of_managers(fields, "GATEWAY", path, at)
    if topology.takes_proxy_protocol:
        kind = (
            "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
        )
        name = "envoy.filters.listener.proxy_protocol"
        value = json.dumps({"name": name, "typed_config": {"@type": kind}})
        yield "LISTENER_FILTER", "INSERT_FIRST", value, "GATEWAY", PatchMatch(), path, at
