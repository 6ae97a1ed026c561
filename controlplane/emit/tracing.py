"""Trace spans in Envoy's words: a connection manager's `tracing`, with its provider."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from envoy.config.trace.v3 import opentelemetry_pb2, zipkin_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import (
    environment_resource_detector_pb2,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag

from controlplane.emit import names
from controlplane.emit.words import packed, seconds
from controlplane.mesh.telemetry import Logs
from controlplane.mesh.tracing import Collector, ServiceName, Spans, Traces, TraceTag, Who

HttpConnectionManager = hcm_pb2.HttpConnectionManager
KEPT = 256
UNKNOWN = "unknown"
_TIMEOUT_S = 10.0
_DETECTOR = "envoy.tracers.opentelemetry.resource_detectors.environment"
_NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISIONS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


def of_client(made: HttpConnectionManager, logs: Logs) -> None:
    """`made` takes what the workload calls, or what a gateway passes on."""
    _trace(made, logs.traced.client, logs.traced.who)


def of_gateway(made: HttpConnectionManager, logs: Logs) -> None:
    """Each attempt has a span of its own there, as in Istio."""
    of_client(made, logs)
    if made.HasField("tracing"):
        made.tracing.spawn_upstream_span.value = True


def of_server(made: HttpConnectionManager, logs: Logs) -> None:
    """`made` takes what comes in."""
    _trace(made, logs.traced.server, logs.traced.who)


def _trace(made: HttpConnectionManager, spans: Spans | None, who: Who) -> None:
    if spans is None:
        return
    made.tracing.CopyFrom(_tracing(spans, who))
    if not spans.by_id:
        ids = UuidRequestIdConfig()
        ids.use_request_id_for_trace_sampling.value = False
        made.request_id_extension.typed_config.CopyFrom(packed(ids))


@lru_cache(maxsize=KEPT)
def _tracing(spans: Spans, who: Who) -> hcm_pb2.HttpConnectionManager.Tracing:
    made = HttpConnectionManager.Tracing()
    made.client_sampling.value = 100
    made.random_sampling.value = spans.percent
    made.overall_sampling.value = 100
    if spans.max_path:
        made.max_path_tag_length.value = spans.max_path
    tags = [_tag(one) for one in spans.tags]
    tags += _of_workload(who) if spans.tells_workload else []
    made.custom_tags.extend(sorted(tags, key=lambda tag: tag.tag))
    collector = spans.collector
    made.provider.name = f"envoy.tracers.{'zipkin' if collector.zipkin else 'opentelemetry'}"
    config = _zipkin(collector) if collector.zipkin else _opentelemetry(collector, who)
    made.provider.typed_config.CopyFrom(packed(config))
    return made


def _tag(tag: TraceTag) -> CustomTag:
    made = CustomTag(tag=tag.name)
    if tag.kind == "literal":
        made.literal.value = tag.value
    elif tag.kind == "formatter":
        made.value = tag.value
    elif tag.kind == "header":
        made.request_header.name, made.request_header.default_value = tag.value, tag.default
    else:
        made.environment.name, made.environment.default_value = tag.value, tag.default
    return made


def _of_workload(who: Who) -> list[CustomTag]:
    """Istio's."""
    told = {
        "istio.canonical_revision": who.revision or "latest",
        "istio.canonical_service": who.service or UNKNOWN,
        "istio.mesh_id": who.mesh_id or UNKNOWN,
        "istio.namespace": who.namespace or "default",
    }
    return [_tag(TraceTag(name, "literal", value)) for name, value in told.items()]


def _zipkin(collector: Collector) -> zipkin_pb2.ZipkinConfig:
    """Spans of a server are its own, as in Istio."""
    made = zipkin_pb2.ZipkinConfig(
        collector_cluster=names.outbound_cluster(collector.host, collector.port),
        collector_endpoint=collector.path,
        collector_hostname=collector.host,
        collector_endpoint_version=zipkin_pb2.ZipkinConfig.HTTP_JSON,
        trace_id_128bit=collector.long_ids,
    )
    made.shared_span_context.value = False
    if collector.w3c:
        made.trace_context_option = zipkin_pb2.ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
    return made


def _opentelemetry(collector: Collector, who: Who) -> opentelemetry_pb2.OpenTelemetryConfig:
    made = opentelemetry_pb2.OpenTelemetryConfig(service_name=who.service_name)
    cluster = names.outbound_cluster(collector.host, collector.port)
    headers = [base_pb2.HeaderValue(key=name, value=value) for name, value in collector.headers]
    if collector.path:
        service = made.http_service
        service.http_uri.uri = f"http://{collector.host}:{collector.port}{collector.path}"
        service.http_uri.cluster = cluster
        service.http_uri.timeout.CopyFrom(seconds(collector.timeout_s or _TIMEOUT_S))
        for one in headers:
            service.request_headers_to_add.add(
                header=one,
                append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
            )
    else:
        inner = grpc_service_pb2.GrpcService.EnvoyGrpc(
            cluster_name=cluster, authority=collector.host
        )
        made.grpc_service.envoy_grpc.CopyFrom(inner)
        made.grpc_service.initial_metadata.extend(headers)
        if collector.timeout_s is not None:
            made.grpc_service.timeout.CopyFrom(seconds(collector.timeout_s))
    if collector.detects:
        config = environment_resource_detector_pb2.EnvironmentResourceDetectorConfig()
        made.resource_detectors.add(name=_DETECTOR, typed_config=packed(config))
    return made


# --------------------------------------------------------------------------- the workload


def known_as(
    traces: Traces, labels: Mapping[str, str], workload: str, namespace: str, mesh_id: str
) -> Who:
    """By Istio's rules for canonical names."""
    service = _first(labels, _NAMES) or workload
    app = labels.get("app") or "istio-proxy"
    called: Mapping[ServiceName, str] = {
        "APP_LABEL_AND_NAMESPACE": f"{app}.{namespace}",
        "CANONICAL_NAME_ONLY": service or UNKNOWN,
        "CANONICAL_NAME_AND_NAMESPACE": f"{service or UNKNOWN}.{namespace}",
    }
    revision = _first(labels, _REVISIONS)
    return Who(called[traces.naming], service, revision, namespace, mesh_id)


def _first(labels: Mapping[str, str], wanted: tuple[str, ...]) -> str:
    return next((labels[name] for name in wanted if labels.get(name)), "")
