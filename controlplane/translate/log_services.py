"""Services that are told of streams over gRPC -> the providers of access logs that they are.

As in Istio: a provider whose service nobody knows logs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.kinds.log_providers import HttpGrpcLog, TcpGrpcLog
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.mesh.model import Service
from controlplane.mesh.telemetry import LogService
from controlplane.translate.telemetry_providers import host_of
from protos.frozen import frozen

STATES = ("upstream_peer", "downstream_peer")
"""What is told of filter state where the provider does not say: Istio's, of the peers."""


@frozen
class LogProvider:
    """By its name in the MeshConfig. fault: why nobody is told, '' if somebody is."""

    name: str
    service: LogService | None
    fault: str = ""


def providers(
    configs: tuple[MeshConfigMap, ...], services: tuple[Service, ...]
) -> tuple[LogProvider, ...]:
    config = next((one.data.mesh for one in configs), None)
    if config is None or not config.extension_providers:
        return ()
    known = {service.hostname: service for service in services}
    found = []
    for one in config.extension_providers:
        if one.envoy_http_als is not None:
            found.append(_http(one.name, one.envoy_http_als, known))
        elif one.envoy_tcp_als is not None:
            found.append(_tcp(one.name, one.envoy_tcp_als, known))
    return tuple(found)


def _http(name: str, item: HttpGrpcLog, known: Mapping[str, Service]) -> LogProvider:
    host, fault = host_of(item, known)
    if fault:
        return LogProvider(name, None, f"reaches nobody ({fault})")
    service = LogService(
        "http",
        host,
        item.port,
        item.log_name or "http_envoy_accesslog",
        item.filter_state_objects_to_log or STATES,
        item.additional_request_headers_to_log,
        item.additional_response_headers_to_log,
        item.additional_response_trailers_to_log,
    )
    return LogProvider(name, service)


def _tcp(name: str, item: TcpGrpcLog, known: Mapping[str, Service]) -> LogProvider:
    host, fault = host_of(item, known)
    if fault:
        return LogProvider(name, None, f"reaches nobody ({fault})")
    log_name = item.log_name or "tcp_envoy_accesslog"
    states = item.filter_state_objects_to_log or STATES
    return LogProvider(name, LogService("tcp", host, item.port, log_name, states))
