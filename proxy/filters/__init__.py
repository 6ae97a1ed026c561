"""The HTTP filters that Weft has, in one table: type URL -> builder. The router is none of them."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.filters import (
    buffer,
    cors,
    dynamic_forward_proxy,
    ext_authz,
    fault,
    grpc_stats,
    header_mutation,
    health_check,
    jwt_authn,
    local_ratelimit,
    peak_ewma,
    rbac,
    set_filter_state,
    set_metadata,
)
from proxy.filters.api import Builder

FILTERS: Mapping[str, Builder] = {
    each.TYPE_URL: each.build
    for each in (
        buffer,
        cors,
        dynamic_forward_proxy,
        ext_authz,
        fault,
        grpc_stats,
        header_mutation,
        health_check,
        jwt_authn,
        local_ratelimit,
        peak_ewma,
        rbac,
        set_filter_state,
        set_metadata,
    )
}
