"""Decodes what limits a cluster: circuit breakers per priority, and outlier detection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2

from proxy.config.decode_common import seconds_or, value_or
from proxy.config.model import OutlierDetection, Thresholds
from proxy.config.rejected import Rejected

_HIGH = 1
_DEFAULT_BUDGET_PERCENT = 20.0
_Thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds
_OUTLIER_NUMBERS = tuple(
    each.name
    for each in fields(OutlierDetection)
    if not each.name.endswith("_s") and each.name != "split_external_local_origin_errors"
)


def thresholds(
    message: circuit_breaker_pb2.CircuitBreakers, path: str
) -> tuple[Thresholds, Thresholds]:
    """Those of the default and of the high priority; the first entry of a priority decides."""
    found = _by_priority(message.thresholds, f"{path}.thresholds")
    per_host = _by_priority(message.per_host_thresholds, f"{path}.per_host_thresholds")
    default, high = (_limits(found.get(at), per_host.get(at)) for at in (0, _HIGH))
    return default, high


def _by_priority(messages: Iterable[_Thresholds], path: str) -> dict[int, _Thresholds]:
    found: dict[int, _Thresholds] = {}
    for i, each in enumerate(messages):
        if each.priority not in (0, _HIGH):
            raise Rejected(f"{path}[{i}].priority", "is no priority")
        found.setdefault(each.priority, each)
    return found


def _limits(message: _Thresholds | None, per_host: _Thresholds | None) -> Thresholds:
    """Of the limits per host Envoy knows max_connections only."""
    limits = Thresholds() if message is None else _thresholds(message)
    if per_host is None:
        return limits
    most = value_or(per_host, "max_connections", None)
    return replace(limits, max_connections_per_host=most)


def _thresholds(message: _Thresholds) -> Thresholds:
    percent = None
    budget = message.retry_budget
    if message.HasField("retry_budget"):
        given = budget.HasField("budget_percent")
        percent = budget.budget_percent.value if given else _DEFAULT_BUDGET_PERCENT
    return Thresholds(
        max_connections=value_or(message, "max_connections", 1024),
        max_pending_requests=value_or(message, "max_pending_requests", 1024),
        max_requests=value_or(message, "max_requests", 1024),
        max_retries=value_or(message, "max_retries", 3),
        budget_percent=percent,
        budget_min_concurrency=value_or(budget, "min_retry_concurrency", 3),
        track_remaining=message.track_remaining,
        max_connection_pools=value_or(message, "max_connection_pools", None),
    )


def outlier_detection(
    message: outlier_detection_pb2.OutlierDetection, path: str = ""
) -> OutlierDetection:
    defaults = OutlierDetection()
    base_s = seconds_or(message, "base_ejection_time", 30.0)
    # Envoy: the default, or base_ejection_time where that is larger.
    max_s = seconds_or(message, "max_ejection_time", max(300.0, base_s))
    if max_s < base_s:
        raise Rejected(f"{path}.max_ejection_time", "is less than base_ejection_time")
    numbers = {name: value_or(message, name, getattr(defaults, name)) for name in _OUTLIER_NUMBERS}
    return replace(
        defaults,
        **numbers,
        interval_s=seconds_or(message, "interval", 10.0),
        base_ejection_time_s=base_s,
        max_ejection_time_s=max_s,
        max_ejection_time_jitter_s=seconds_or(message, "max_ejection_time_jitter", 0.0),
        split_external_local_origin_errors=message.split_external_local_origin_errors,
    )
