"""Decodes the protocol options of a cluster: the old fields and `HttpProtocolOptions`."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from proxy.config.decode_common import optional_seconds, unpack, value_or
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import HttpProtocolOptions
from proxy.config.rejected import Rejected, at

_OPTIONS = http_protocol_options_pb2.HttpProtocolOptions
EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = f"HTTP/2 to a cluster other than the control plane's is {UNSUPPORTED}"


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


def cluster_protocol(
    message: cluster_pb2.Cluster, path: str, for_grpc: bool
) -> HttpProtocolOptions:
    """How the cluster is spoken to. HTTP/2 is refused unless the cluster is `for_grpc`."""
    if message.HasField("http2_protocol_options") and not for_grpc:
        raise Rejected(at(path, "http2_protocol_options"), _HTTP2)
    old_max = value_or(message, "max_requests_per_connection", None)
    extensions = message.typed_extension_protocol_options
    where = at(path, "typed_extension_protocol_options")
    for name in extensions:
        if name != EXTENSION:
            raise Rejected(f"{where}[{name}]", UNSUPPORTED)
    if EXTENSION not in extensions:
        return common_http(message.common_http_protocol_options, old_max)
    where = f"{where}[{EXTENSION}]"
    options = unpack(_OPTIONS, extensions[EXTENSION], where)
    explicit = options.explicit_http_config
    if explicit.WhichOneof("protocol_config") == "http2_protocol_options" and not for_grpc:
        raise Rejected(f"{where}.explicit_http_config.http2_protocol_options", _HTTP2)
    return common_http(options.common_http_protocol_options, old_max)
