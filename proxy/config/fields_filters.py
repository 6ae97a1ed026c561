"""Rows of the field table: HTTP filters, one row per message of each supported filter."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

FILTERS: Table = {
    "envoy.extensions.filters.http.router.v3.Router": Fields(
        "suppress_envoy_headers",
        {"dynamic_stats": "which statistics exist is Weft's own matter"},
        {"start_child_span": False},
    ),
}
