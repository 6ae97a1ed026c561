"""Services that are told of streams over gRPC -> the providers of access logs that they are.

As in Istio: a provider whose service nobody knows logs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from controlplane.kinds.log_providers import HttpGrpcLog, OtelLog, OtelLogFormat, TcpGrpcLog
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.mesh.model import Service
from controlplane.mesh.telemetry import LogService
from controlplane.translate.log_formats import text_fault
from controlplane.translate.report import Report
from controlplane.translate.telemetry_providers import host_of
from protos.frozen import frozen

STATES = ("upstream_peer", "downstream_peer")
"""What is told of filter state where the provider does not say: Istio's, of the peers."""

OTEL_STATES = (
    *STATES,
    *("wasm.upstream_peer", "wasm.upstream_peer_id"),
    *("wasm.downstream_peer", "wasm.downstream_peer_id"),
)
"""The same for OpenTelemetry, of which the provider can't say: Istio names older ones, too."""


@frozen
class LogProvider:
    """By its name in the MeshConfig. fault: why nobody is told, '' if somebody is."""

    name: str
    service: LogService | None
    fault: str = ""


def providers(
    configs: tuple[MeshConfigMap, ...], services: tuple[Service, ...], report: Report
) -> tuple[LogProvider, ...]:
    settings = next(iter(configs), None)
    if settings is None or not settings.data.mesh.extension_providers:
        return ()
    known = {service.hostname: service for service in services}
    found = []
    for one in settings.data.mesh.extension_providers:
        if one.envoy_http_als is not None:
            found.append(_http(one.name, one.envoy_http_als, known))
        elif one.envoy_tcp_als is not None:
            found.append(_tcp(one.name, one.envoy_tcp_als, known))
        elif one.envoy_otel_als is not None:
            words = _words(settings, one.envoy_otel_als.log_format, report)
            found.append(_otel(one.name, one.envoy_otel_als, words, known))
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


# --------------------------------------------------------------------------- OpenTelemetry


@frozen
class _Words:
    """What is told: text ('' is Istio's), and labels in the order of their names."""

    text: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def _otel(name: str, item: OtelLog, words: _Words, known: Mapping[str, Service]) -> LogProvider:
    host, fault = host_of(item, known)
    if fault:
        return LogProvider(name, None, f"reaches nobody ({fault})")
    log_name = item.log_name or "otel_envoy_accesslog"
    service = LogService(
        "otel", host, item.port, log_name, OTEL_STATES, text=words.text, labels=words.labels
    )
    return LogProvider(name, service)


def _words(settings: MeshConfigMap, given: OtelLogFormat | None, report: Report) -> _Words:
    """Without what a proxy would refuse, which is reported."""
    if given is None:
        return _Words()
    text = given.text
    if fault := text_fault(text):
        message = f"the log's format: {fault}; Istio's is told instead"
        report.error(settings, given.at("text"), "InvalidFormat", message)
        text = ""
    labels = []
    for name, value, wrong in _labels(given.labels or "{}"):
        if wrong:
            message = f"the label {name!r} {wrong}; it is not told"
            report.error(settings, given.at("labels"), "InvalidFormat", message)
        else:
            labels.append((name, value))
    return _Words(text, tuple(labels))


def _labels(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, value, and what is wrong with it. Attributes are texts alone (Istio tells '' where
    they are none)."""
    for name, value in sorted(json.loads(text).items()):
        if isinstance(value, str):
            fault = text_fault(value)
            yield name, value, f"is no format: {fault}" if fault else ""
        else:
            yield name, "", f"is no text: {json.dumps(value)}"
