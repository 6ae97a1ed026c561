"""The decoders of HTTP filters: type URL -> decoder of that filter's configuration.

A decoder takes the packed message's bytes and the path for errors, answers the filter's own frozen
configuration, or raises Rejected. A supported filter stands here and, as a builder, in
`proxy.filters.FILTERS`; its messages' fields stand in `fields_filters`. Its module is imported when
a configuration names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.imported import Imported

FilterDecoder = Callable[[bytes, str], object]
StructDecoder = Callable[[Mapping[str, Any], str], object]
FilterDecoders = Mapping[str, FilterDecoder]
_HTTP = "type.googleapis.com/envoy.extensions.filters.http."


def _table(places: Mapping[str, str]) -> FilterDecoders:
    return Imported({_HTTP + name: f"{__name__}.{place}" for name, place in places.items()})


DECODERS = _table(
    {
        "buffer.v3.Buffer": "decode_buffer:decode",
        "cors.v3.Cors": "decode_cors:decode",
        "dynamic_forward_proxy.v3.FilterConfig": "decode_dynamic_forward_proxy:decode",
        "ext_authz.v3.ExtAuthz": "decode_ext_authz:decode",
        "fault.v3.HTTPFault": "decode_fault:decode",
        "grpc_stats.v3.FilterConfig": "decode_grpc_stats:decode",
        "header_mutation.v3.HeaderMutation": "decode_header_mutation:decode",
        "health_check.v3.HealthCheck": "decode_health_check:decode",
        "jwt_authn.v3.JwtAuthentication": "decode_jwt_authn:decode",
        "local_ratelimit.v3.LocalRateLimit": "decode_local_ratelimit:decode",
        "on_demand.v3.OnDemand": "decode_on_demand:decode",
        "peak_ewma.v3alpha.PeakEwmaConfig": "decode_peak_ewma:decode",
        "rbac.v3.RBAC": "decode_rbac:decode",
        "router.v3.Router": "decode_router:decode",
        "set_filter_state.v3.Config": "decode_set_filter_state:decode",
        "set_metadata.v3.Config": "decode_set_metadata:decode",
        "stateful_session.v3.StatefulSession": "decode_stateful_session:decode",
    }
)
"""Filters of a chain."""

PER_ROUTE = _table(
    {
        "buffer.v3.BufferPerRoute": "decode_buffer:decode_per_route",
        "cors.v3.CorsPolicy": "decode_cors:decode_per_route",
        "dynamic_forward_proxy.v3.PerRouteConfig": "decode_dynamic_forward_proxy:decode_per_route",
        "ext_authz.v3.ExtAuthzPerRoute": "decode_ext_authz:decode_per_route",
        "fault.v3.HTTPFault": "decode_fault:decode",
        "header_mutation.v3.HeaderMutationPerRoute": "decode_header_mutation:decode_per_route",
        "jwt_authn.v3.PerRouteConfig": "decode_jwt_authn:decode_per_route",
        "local_ratelimit.v3.LocalRateLimit": "decode_local_ratelimit:decode_per_route",
        "on_demand.v3.PerRouteConfig": "decode_on_demand:decode_per_route",
        "rbac.v3.RBACPerRoute": "decode_rbac:decode_per_route",
        "set_filter_state.v3.Config": "decode_set_filter_state:decode",
        "set_metadata.v3.Config": "decode_set_metadata:decode",
        "stateful_session.v3.StatefulSessionPerRoute": "decode_stateful_session:decode_per_route",
    }
)
"""What a route, virtual host, weighted cluster or route configuration may say to a filter."""

STRUCTS: Mapping[str, StructDecoder] = Imported(
    {
        "type.googleapis.com/io.istio.http.peer_metadata.Config": (
            f"{__name__}.decode_peer_metadata:decode"
        ),
        "type.googleapis.com/stats.PluginConfig": f"{__name__}.decode_istio_stats:decode",
    }
)
"""Istio's own filters, whose configuration comes as a `TypedStruct`."""
