"""Decodes `envoy.filters.http.fault`: delays, aborts and slow answers, on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, optional_seconds, parse, percent, struct, value_or
from proxy.config.decode_matchers import header_matchers
from proxy.config.model import FractionalPercent, HeaderMatcher

TYPE_URL = PREFIX + fault_pb2.HTTPFault.DESCRIPTOR.full_name


@frozen
class Delay:
    """fixed_s None: the request says how long."""

    fixed_s: float | None
    share: FractionalPercent


@frozen
class Abort:
    """Both None: the request says how."""

    http_status: int | None
    grpc_status: int | None
    share: FractionalPercent


@frozen
class RateLimit:
    """KiB per second. None: the request says how many."""

    limit_kbps: int | None
    share: FractionalPercent


@frozen
class FaultConfig:
    """Runtime keys are Envoy's own where none is given."""

    delay: Delay | None = None
    abort: Abort | None = None
    rate_limit: RateLimit | None = None
    upstream_cluster: str = ""
    downstream_nodes: frozenset[bytes] = frozenset()
    headers: tuple[HeaderMatcher, ...] = ()
    max_active_faults: int | None = None
    counts_by_cluster: bool = True
    filter_metadata: Mapping[str, Any] = field(default_factory=dict)
    delay_percent_key: str = "fault.http.delay.fixed_delay_percent"
    abort_percent_key: str = "fault.http.abort.abort_percent"
    delay_duration_key: str = "fault.http.delay.fixed_duration_ms"
    abort_http_status_key: str = "fault.http.abort.http_status"
    abort_grpc_status_key: str = "fault.http.abort.grpc_status"
    max_active_faults_key: str = "fault.http.max_active_faults"
    rate_limit_percent_key: str = "fault.http.rate_limit.response_percent"


def decode(value: bytes, path: str) -> FaultConfig:
    message = parse(fault_pb2.HTTPFault, value, path)
    default = FaultConfig()
    return FaultConfig(
        _delay(message, f"{path}.delay"),
        _abort(message, f"{path}.abort"),
        _rate_limit(message, f"{path}.response_rate_limit"),
        message.upstream_cluster,
        frozenset(node.encode() for node in message.downstream_nodes),
        header_matchers(message.headers, f"{path}.headers"),
        value_or(message, "max_active_faults", None),
        not message.disable_downstream_cluster_stats,
        struct(message.filter_metadata),
        message.delay_percent_runtime or default.delay_percent_key,
        message.abort_percent_runtime or default.abort_percent_key,
        message.delay_duration_runtime or default.delay_duration_key,
        message.abort_http_status_runtime or default.abort_http_status_key,
        message.abort_grpc_status_runtime or default.abort_grpc_status_key,
        message.max_active_faults_runtime or default.max_active_faults_key,
        message.response_rate_limit_percent_runtime or default.rate_limit_percent_key,
    )


def _delay(message: fault_pb2.HTTPFault, path: str) -> Delay | None:
    if not message.HasField("delay"):
        return None
    share = percent(message.delay.percentage, f"{path}.percentage")
    return Delay(optional_seconds(message.delay, "fixed_delay"), share)


def _abort(message: fault_pb2.HTTPFault, path: str) -> Abort | None:
    if not message.HasField("abort"):
        return None
    abort = message.abort
    share = percent(abort.percentage, f"{path}.percentage")
    kind = abort.WhichOneof("error_type")
    http_status = abort.http_status if kind == "http_status" else None
    return Abort(http_status, abort.grpc_status if kind == "grpc_status" else None, share)


def _rate_limit(message: fault_pb2.HTTPFault, path: str) -> RateLimit | None:
    if not message.HasField("response_rate_limit"):
        return None
    limit: common_pb2.FaultRateLimit = message.response_rate_limit
    share = percent(limit.percentage, f"{path}.percentage")
    fixed = limit.WhichOneof("limit_type") == "fixed_limit"
    return RateLimit(limit.fixed_limit.limit_kbps if fixed else None, share)
