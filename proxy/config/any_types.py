"""The messages that may stand in an `Any` of a bootstrap, imported only when one is named.

Being here says only that the fields can be read; whether a type is supported in its place is
decided by the decoder that unpacks it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

_EXTENSIONS = "envoy.extensions."
_MODULES: Mapping[str, str] = {
    "envoy.config.route.v3.FilterConfig": "route_components",
    "envoy.config.route.v3.Route": "route_components",
    "envoy.config.route.v3.RouteList": "route_components",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": "http_inputs",
    "envoy.config.rbac.v3.Action": "rbac",
    "envoy.config.trace.v3.OpenTelemetryConfig": "opentelemetry",
    "envoy.config.trace.v3.ZipkinConfig": "zipkin",
    "udpa.type.v1.TypedStruct": "typed_struct",
    "xds.type.v3.TypedStruct": "typed_struct",
} | {
    _EXTENSIONS + name: module
    for name, module in (
        ("access_loggers.file.v3.FileAccessLog", "file"),
        ("clusters.aggregate.v3.ClusterConfig", "cluster"),
        ("clusters.dns.v3.DnsCluster", "dns_cluster"),
        ("clusters.dynamic_forward_proxy.v3.ClusterConfig", "cluster"),
        ("filters.http.dynamic_forward_proxy.v3.FilterConfig", "dynamic_forward_proxy"),
        ("filters.http.dynamic_forward_proxy.v3.PerRouteConfig", "dynamic_forward_proxy"),
        ("filters.listener.proxy_protocol.v3.ProxyProtocol", "proxy_protocol"),
        ("network.dns_resolver.cares.v3.CaresDnsResolverConfig", "cares_dns_resolver"),
        (
            "network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
            "getaddrinfo_dns_resolver",
        ),
        (
            "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "upstream_proxy_protocol",
        ),
        ("access_loggers.grpc.v3.HttpGrpcAccessLogConfig", "als"),
        ("access_loggers.grpc.v3.TcpGrpcAccessLogConfig", "als"),
        ("access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", "logs_service"),
        ("access_loggers.stream.v3.StderrAccessLog", "stream"),
        ("access_loggers.stream.v3.StdoutAccessLog", "stream"),
        ("early_data.v3.DefaultEarlyDataPolicy", "default_early_data_policy"),
        ("filters.http.buffer.v3.Buffer", "buffer"),
        ("filters.http.buffer.v3.BufferPerRoute", "buffer"),
        ("filters.http.cors.v3.Cors", "cors"),
        ("filters.http.cors.v3.CorsPolicy", "cors"),
        ("filters.http.ext_authz.v3.ExtAuthz", "ext_authz"),
        ("filters.http.ext_authz.v3.ExtAuthzPerRoute", "ext_authz"),
        ("filters.http.fault.v3.HTTPFault", "fault"),
        ("filters.http.grpc_stats.v3.FilterConfig", "config"),
        ("filters.http.header_mutation.v3.HeaderMutation", "header_mutation"),
        ("filters.http.header_mutation.v3.HeaderMutationPerRoute", "header_mutation"),
        ("filters.http.health_check.v3.HealthCheck", "health_check"),
        ("filters.http.jwt_authn.v3.JwtAuthentication", "config"),
        ("filters.http.jwt_authn.v3.PerRouteConfig", "config"),
        ("filters.http.local_ratelimit.v3.LocalRateLimit", "local_rate_limit"),
        ("filters.http.on_demand.v3.OnDemand", "on_demand"),
        ("filters.http.on_demand.v3.PerRouteConfig", "on_demand"),
        ("filters.http.rbac.v3.RBAC", "rbac"),
        ("filters.http.rbac.v3.RBACPerRoute", "rbac"),
        ("filters.http.router.v3.Router", "router"),
        ("filters.http.set_filter_state.v3.Config", "set_filter_state"),
        ("filters.http.set_metadata.v3.Config", "set_metadata"),
        ("filters.http.stateful_session.v3.StatefulSession", "stateful_session"),
        ("filters.http.stateful_session.v3.StatefulSessionPerRoute", "stateful_session"),
        ("http.stateful_session.cookie.v3.CookieBasedSessionState", "cookie"),
        ("http.stateful_session.envelope.v3.EnvelopeSessionState", "envelope"),
        ("http.stateful_session.header.v3.HeaderBasedSessionState", "header"),
        ("formatter.metadata.v3.Metadata", "metadata"),
        ("formatter.req_without_query.v3.ReqWithoutQuery", "req_without_query"),
        ("filters.listener.http_inspector.v3.HttpInspector", "http_inspector"),
        ("filters.listener.original_dst.v3.OriginalDst", "original_dst"),
        ("filters.listener.original_src.v3.OriginalSrc", "original_src"),
        ("filters.listener.tls_inspector.v3.TlsInspector", "tls_inspector"),
        (
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "http_connection_manager",
        ),
        ("filters.network.ext_authz.v3.ExtAuthz", "ext_authz"),
        ("filters.network.rbac.v3.RBAC", "rbac"),
        ("matching.common_inputs.network.v3.DestinationIPInput", "network_inputs"),
        ("matching.common_inputs.network.v3.DestinationPortInput", "network_inputs"),
        ("matching.common_inputs.network.v3.DirectSourceIPInput", "network_inputs"),
        ("matching.common_inputs.network.v3.DynamicMetadataInput", "network_inputs"),
        ("matching.common_inputs.network.v3.FilterStateInput", "network_inputs"),
        ("matching.common_inputs.network.v3.ServerNameInput", "network_inputs"),
        ("matching.common_inputs.network.v3.SourceIPInput", "network_inputs"),
        ("matching.common_inputs.network.v3.SourcePortInput", "network_inputs"),
        ("matching.input_matchers.ip.v3.Ip", "ip"),
        ("matching.input_matchers.metadata.v3.Metadata", "metadata"),
        ("filters.network.tcp_proxy.v3.TcpProxy", "tcp_proxy"),
        ("http.original_ip_detection.xff.v3.XffConfig", "xff"),
        ("request_id.uuid.v3.UuidRequestIdConfig", "uuid"),
        ("http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", "preserve_case"),
        ("load_balancing_policies.cluster_provided.v3.ClusterProvided", "cluster_provided"),
        ("load_balancing_policies.least_request.v3.LeastRequest", "least_request"),
        ("load_balancing_policies.maglev.v3.Maglev", "maglev"),
        ("load_balancing_policies.random.v3.Random", "random"),
        ("load_balancing_policies.ring_hash.v3.RingHash", "ring_hash"),
        ("load_balancing_policies.round_robin.v3.RoundRobin", "round_robin"),
        ("load_balancing_policies.subset.v3.Subset", "subset"),
        ("health_check.event_sinks.file.v3.HealthCheckEventFileSink", "file"),
        (
            "internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
            "allow_listed_routes_config",
        ),
        ("internal_redirect.previous_routes.v3.PreviousRoutesConfig", "previous_routes_config"),
        (
            "internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig",
            "safe_cross_scheme_config",
        ),
        ("path.match.uri_template.v3.UriTemplateMatchConfig", "uri_template_match"),
        ("path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "uri_template_rewrite"),
        ("retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", "omit_canary_hosts"),
        (
            "retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
            "omit_host_metadata_config",
        ),
        ("retry.host.previous_hosts.v3.PreviousHostsPredicate", "previous_hosts"),
        (
            "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "previous_priorities_config",
        ),
        (
            "tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig",
            "environment_resource_detector",
        ),
        (
            "tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig",
            "static_config_resource_detector",
        ),
        ("tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig", "always_on_sampler"),
        ("tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig", "parent_based_sampler"),
        (
            "tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
            "trace_id_ratio_based_sampler",
        ),
        ("transport_sockets.raw_buffer.v3.RawBuffer", "raw_buffer"),
        ("transport_sockets.tls.v3.DownstreamTlsContext", "tls"),
        (
            "transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            "tls_spiffe_validator_config",
        ),
        ("transport_sockets.tls.v3.UpstreamTlsContext", "tls"),
        ("upstreams.http.v3.HttpProtocolOptions", "http_protocol_options"),
    )
}
# Of Envoy's contrib extensions no package has generated code.
_OURS: Mapping[str, str] = {
    _EXTENSIONS + "filters.http.peak_ewma.v3alpha.PeakEwmaConfig": "peak_ewma_filter",
    _EXTENSIONS + "load_balancing_policies.peak_ewma.v3alpha.PeakEwma": "peak_ewma",
}
NAMES = frozenset({**_MODULES, **_OURS})
# What a file of `path_config_source` holds.
_RESOURCES: Mapping[str, str] = {
    "envoy.config.cluster.v3.Cluster": "cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "endpoint",
    "envoy.config.listener.v3.Listener": "listener",
    "envoy.config.route.v3.RouteConfiguration": "route",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "secret",
}


@cache
def descriptor(name: str) -> Descriptor | None:
    """The descriptor of the message with this full name; None where Weft does not know it."""
    found = message_type(name)
    return found.DESCRIPTOR if found is not None else None


@cache
def message_type(name: str) -> Any:
    """The class of the message with this full name; None where Weft does not know it."""
    package, _, kind = name.rpartition(".")
    module = _MODULES.get(name) or _RESOURCES.get(name)
    if name in _OURS:
        package, module = "protos.gen.contrib", _OURS[name]
    if module is None:
        return None
    return getattr(importlib.import_module(f"{package}.{module}_pb2"), kind)


@cache
def import_all() -> None:
    """For whoever shows messages that nobody has accepted."""
    for name in NAMES:
        message_type(name)
