"""How long a stream may last: `max_stream_duration`, the timeout of gRPC, and their caps."""

from __future__ import annotations

from proxy.config.model import RouteAction
from proxy.l7.durations import GrpcTimeout
from proxy.l7.entry import RouteEntry


def set_durations(entry: RouteEntry, action: RouteAction) -> None:
    """`max_stream_duration` takes the place of `timeout` and of the older gRPC fields (Envoy)."""
    limits = action.max_stream_duration
    if limits is None:
        if action.timeout_s is not None:
            entry.timeout_s = action.timeout_s
        if action.max_grpc_timeout_s is not None:
            offset_s = action.grpc_timeout_offset_s or 0.0
            entry.grpc_timeout = GrpcTimeout(action.max_grpc_timeout_s, offset_s)
        return
    entry.timeout_s = 0.0
    entry.limits_duration = True
    entry.max_stream_duration_s = limits.max_stream_duration_s
    if limits.grpc_timeout_header_max_s is not None:
        offset_s = limits.grpc_timeout_header_offset_s or 0.0
        entry.grpc_stream_timeout = GrpcTimeout(limits.grpc_timeout_header_max_s, offset_s)
