"""Decodes the on demand filter, and what a route says to it."""

from __future__ import annotations

from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2

from proxy.config.decode_common import parse, seconds_or
from proxy.config.decode_source import source
from proxy.config.fields import UNSUPPORTED
from proxy.config.model.on_demand import OnDemandConfig
from proxy.config.rejected import Rejected, at

_CONFIG = on_demand_pb2.OnDemand
_PER_ROUTE = on_demand_pb2.PerRouteConfig
TYPE_URL = f"type.googleapis.com/{_CONFIG.DESCRIPTOR.full_name}"
PER_ROUTE_TYPE_URL = f"type.googleapis.com/{_PER_ROUTE.DESCRIPTOR.full_name}"
_TIMEOUT_S = 5.0
"""Envoy's default."""


def decode(value: bytes, path: str) -> OnDemandConfig:
    return _config(parse(_CONFIG, value, path), path)


def decode_per_route(value: bytes, path: str) -> OnDemandConfig:
    return _config(parse(_PER_ROUTE, value, path), path)


def _config(
    message: on_demand_pb2.OnDemand | on_demand_pb2.PerRouteConfig, path: str
) -> OnDemandConfig:
    """Clusters come over ADS only."""
    if not message.HasField("odcds"):
        return OnDemandConfig()
    where = at(path, "odcds")
    if source(message.odcds.source, f"{where}.source"):
        raise Rejected(f"{where}.source", f"a file is {UNSUPPORTED}; use ads")
    return OnDemandConfig(True, seconds_or(message.odcds, "timeout", _TIMEOUT_S))
