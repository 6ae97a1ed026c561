"""The decoders of HTTP filters: type URL -> decoder of that filter's configuration.

A decoder takes the packed message's bytes and the path for errors, answers the filter's own frozen
configuration, or raises Rejected. A supported filter stands here and, as a builder, in
`proxy.filters.FILTERS`; its messages' fields stand in `fields_filters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config.filters import (
    decode_buffer,
    decode_cors,
    decode_dynamic_forward_proxy,
    decode_ext_authz,
    decode_fault,
    decode_grpc_stats,
    decode_header_mutation,
    decode_health_check,
    decode_jwt_authn,
    decode_local_ratelimit,
    decode_peak_ewma,
    decode_rbac,
    decode_router,
    decode_set_filter_state,
    decode_set_metadata,
)

FilterDecoder = Callable[[bytes, str], object]
FilterDecoders = Mapping[str, FilterDecoder]

DECODERS: FilterDecoders = {
    each.TYPE_URL: each.decode
    for each in (
        decode_buffer,
        decode_cors,
        decode_dynamic_forward_proxy,
        decode_ext_authz,
        decode_fault,
        decode_grpc_stats,
        decode_header_mutation,
        decode_health_check,
        decode_jwt_authn,
        decode_local_ratelimit,
        decode_peak_ewma,
        decode_rbac,
        decode_router,
        decode_set_filter_state,
        decode_set_metadata,
    )
}
"""Filters of a chain."""

PER_ROUTE: FilterDecoders = {
    decode_buffer.PER_ROUTE_TYPE_URL: decode_buffer.decode_per_route,
    decode_cors.PER_ROUTE_TYPE_URL: decode_cors.decode_per_route,
    decode_dynamic_forward_proxy.PER_ROUTE_TYPE_URL: (
        decode_dynamic_forward_proxy.decode_per_route
    ),
    decode_ext_authz.PER_ROUTE_TYPE_URL: decode_ext_authz.decode_per_route,
    decode_fault.TYPE_URL: decode_fault.decode,
    decode_header_mutation.PER_ROUTE_TYPE_URL: decode_header_mutation.decode_per_route,
    decode_jwt_authn.PER_ROUTE_TYPE_URL: decode_jwt_authn.decode_per_route,
    decode_local_ratelimit.TYPE_URL: decode_local_ratelimit.decode_per_route,
    decode_rbac.PER_ROUTE_TYPE_URL: decode_rbac.decode_per_route,
    decode_set_filter_state.TYPE_URL: decode_set_filter_state.decode,
    decode_set_metadata.TYPE_URL: decode_set_metadata.decode,
}
"""What a route, virtual host, weighted cluster or route configuration may say to a filter."""
