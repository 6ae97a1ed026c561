"""The HTTP filters that Weft has, in one table: type URL -> builder. The router is none of them.

A filter's module is imported when a configuration names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.filters.api import Builder
from proxy.imported import Imported

_HTTP = "type.googleapis.com/envoy.extensions.filters.http."
_MODULES: Mapping[str, str] = {
    "buffer.v3.Buffer": "buffer",
    "cors.v3.Cors": "cors",
    "dynamic_forward_proxy.v3.FilterConfig": "dynamic_forward_proxy",
    "ext_authz.v3.ExtAuthz": "ext_authz",
    "fault.v3.HTTPFault": "fault",
    "grpc_stats.v3.FilterConfig": "grpc_stats",
    "header_mutation.v3.HeaderMutation": "header_mutation",
    "health_check.v3.HealthCheck": "health_check",
    "jwt_authn.v3.JwtAuthentication": "jwt_authn",
    "local_ratelimit.v3.LocalRateLimit": "local_ratelimit",
    "on_demand.v3.OnDemand": "on_demand",
    "peak_ewma.v3alpha.PeakEwmaConfig": "peak_ewma",
    "rbac.v3.RBAC": "rbac",
    "set_filter_state.v3.Config": "set_filter_state",
    "set_metadata.v3.Config": "set_metadata",
    "stateful_session.v3.StatefulSession": "stateful_session",
}

_ISTIO: Mapping[str, str] = {
    "type.googleapis.com/io.istio.http.peer_metadata.Config": "peer_metadata",
    "type.googleapis.com/stats.PluginConfig": "istio_stats",
}

FILTERS: Mapping[str, Builder] = Imported(
    {_HTTP + name: f"{__name__}.{module}:build" for name, module in _MODULES.items()}
    | {type_url: f"{__name__}.{module}:build" for type_url, module in _ISTIO.items()}
)
