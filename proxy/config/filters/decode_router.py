"""Decodes `envoy.filters.http.router`, the filter that forwards and must stand last."""

from __future__ import annotations

from envoy.extensions.filters.http.router.v3 import router_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse

TYPE_URL = PREFIX + router_pb2.Router.DESCRIPTOR.full_name


@frozen
class RouterConfig:
    suppress_envoy_headers: bool = False
    strict_check_headers: tuple[str, ...] = ()
    respect_expected_rq_timeout: bool = False


def decode(value: bytes, path: str) -> RouterConfig:
    message = parse(router_pb2.Router, value, path)
    return RouterConfig(
        message.suppress_envoy_headers,
        tuple(message.strict_check_headers),
        message.respect_expected_rq_timeout,
    )
