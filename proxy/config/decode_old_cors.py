"""Decodes the CORS policy that a route or virtual host may have in a field of its own.

It is the older spelling of `typed_per_filter_config`, which goes before it at its level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.route.v3 import route_components_pb2

NAME = "envoy.filters.http.cors"


def with_cors(
    configs: Mapping[str, object], message: route_components_pb2.CorsPolicy | None, path: str
) -> Mapping[str, object]:
    """`configs` by filter name, with the policy in `message` if there is one."""
    if message is None or NAME in configs:
        return configs
    from proxy.config.filters.decode_cors import policy  # not needed by who has no such field

    old: dict[str, Any] = {NAME: policy(message, path)}
    return {**configs, **old}
