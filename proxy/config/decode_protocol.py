"""Decodes the protocol options of a cluster: the old fields and `HttpProtocolOptions`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from proxy.config.decode_common import optional_seconds, unpack, value_or
from proxy.config.decode_errors import error_statuses
from proxy.config.decode_http1 import http1_options
from proxy.config.decode_http2 import http2_options
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import HttpProtocolOptions, HttpVersion, PreconnectPolicy
from proxy.config.rejected import Rejected, at

_OPTIONS = http_protocol_options_pb2.HttpProtocolOptions
EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_WITHOUT_ALPN = "needs a TLS transport socket: there is no ALPN to choose the protocol by"


def common_http(
    message: protocol_pb2.HttpProtocolOptions, max_requests: int | None = None
) -> HttpProtocolOptions:
    """`common_http_protocol_options`. idle_timeout_s: Envoy's default is an hour, 0 is None."""
    idle_s = optional_seconds(message, "idle_timeout")
    return HttpProtocolOptions(
        idle_timeout_s=3600.0 if idle_s is None else idle_s or None,
        max_connection_duration_s=optional_seconds(message, "max_connection_duration") or None,
        max_requests_per_connection=value_or(message, "max_requests_per_connection", max_requests)
        or None,
        max_response_headers_kb=value_or(message, "max_response_headers_kb", 60),
        max_headers_count=value_or(message, "max_headers_count", 100),
    )


def cluster_protocol(message: cluster_pb2.Cluster, path: str) -> HttpProtocolOptions:
    """How the cluster is spoken to. `HttpProtocolOptions` wins over the fields of old."""
    _check_duration(message.common_http_protocol_options, at(path, "common_http_protocol_options"))
    extensions = message.typed_extension_protocol_options
    where = at(path, "typed_extension_protocol_options")
    for name in extensions:
        if name != EXTENSION:
            raise Rejected(f"{where}[{name}]", UNSUPPORTED)
    if EXTENSION not in extensions:
        return _of_old_fields(message, path)
    where = f"{where}[{EXTENSION}]"
    options = unpack(_OPTIONS, extensions[EXTENSION], where)
    _check_duration(options.common_http_protocol_options, f"{where}.common_http_protocol_options")
    return _of_options(options, message, where)


def cluster_errors(message: cluster_pb2.Cluster, path: str) -> frozenset[int] | None:
    """Which answers are errors to outlier detection; None: the 5xx."""
    if EXTENSION not in message.typed_extension_protocol_options:
        return None
    where = f"{at(path, 'typed_extension_protocol_options')}[{EXTENSION}]"
    options = unpack(_OPTIONS, message.typed_extension_protocol_options[EXTENSION], where)
    if not options.outlier_detection.HasField("error_matcher"):
        return None
    where = f"{where}.outlier_detection.error_matcher"
    return error_statuses(options.outlier_detection.error_matcher, where)


def _check_duration(message: protocol_pb2.HttpProtocolOptions, path: str) -> None:
    """The limit of a connection manager is there, that of a cluster is not."""
    if optional_seconds(message, "max_stream_duration"):
        raise Rejected(f"{path}.max_stream_duration", f"of a cluster is {UNSUPPORTED}")


def _of_old_fields(message: cluster_pb2.Cluster, path: str) -> HttpProtocolOptions:
    """Envoy: HTTP/2 if there are options for it; `protocol_selection` may leave it to the
    client."""
    old_max = value_or(message, "max_requests_per_connection", None)
    common = common_http(message.common_http_protocol_options, old_max)
    version: HttpVersion = "HTTP2" if message.HasField("http2_protocol_options") else "HTTP1"
    if message.protocol_selection == cluster_pb2.Cluster.USE_DOWNSTREAM_PROTOCOL:
        version = "DOWNSTREAM"
    http1 = http1_options(message.http_protocol_options, at(path, "http_protocol_options"))
    http2 = http2_options(message.http2_protocol_options, at(path, "http2_protocol_options"))
    upstream = message.upstream_http_protocol_options
    return _with_tls_names(replace(common, version=version, http1=http1, http2=http2), upstream)


def _of_options(
    options: http_protocol_options_pb2.HttpProtocolOptions,
    message: cluster_pb2.Cluster,
    path: str,
) -> HttpProtocolOptions:
    old_max = value_or(message, "max_requests_per_connection", None)
    common = common_http(options.common_http_protocol_options, old_max)
    kind = options.WhichOneof("upstream_protocol_options")
    version: HttpVersion = "DOWNSTREAM"
    holder: Any = options.use_downstream_protocol_config
    if kind == "explicit_http_config":
        chosen = options.explicit_http_config.WhichOneof("protocol_config")
        version = "HTTP2" if chosen == "http2_protocol_options" else "HTTP1"
        holder = options.explicit_http_config
    elif kind == "auto_config":
        version = "AUTO"
        holder = options.auto_config
        if not message.HasField("transport_socket"):
            raise Rejected(f"{path}.auto_config", _WITHOUT_ALPN)
    where = f"{path}.{kind}"
    http1 = http1_options(holder.http_protocol_options, f"{where}.http_protocol_options")
    http2 = http2_options(holder.http2_protocol_options, f"{where}.http2_protocol_options")
    upstream = options.upstream_http_protocol_options
    return _with_tls_names(replace(common, version=version, http1=http1, http2=http2), upstream)


def _with_tls_names(
    options: HttpProtocolOptions, message: protocol_pb2.UpstreamHttpProtocolOptions
) -> HttpProtocolOptions:
    return replace(
        options,
        auto_sni=message.auto_sni,
        auto_san_validation=message.auto_san_validation,
        auto_sni_header=message.override_auto_sni_header.lower(),
    )


def preconnect_policy(message: cluster_pb2.Cluster) -> PreconnectPolicy:
    policy = message.preconnect_policy
    return PreconnectPolicy(
        per_upstream=value_or(policy, "per_upstream_preconnect_ratio", 1.0),
        predictive=value_or(policy, "predictive_preconnect_ratio", 0.0),
    )
