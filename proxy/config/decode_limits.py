"""Decodes what limits a cluster: circuit breakers per priority, and outlier detection."""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2

from proxy.config.decode_common import seconds_or, value_or
from proxy.config.model import OutlierDetection, Thresholds
from proxy.config.rejected import Rejected

_HIGH = 1
_DEFAULT_BUDGET_PERCENT = 20.0


def thresholds(
    message: circuit_breaker_pb2.CircuitBreakers, path: str
) -> tuple[Thresholds, Thresholds]:
    """Those of the default and of the high priority; the first entry of a priority decides."""
    found: dict[int, Thresholds] = {}
    for i, each in enumerate(message.thresholds):
        if each.priority not in (0, _HIGH):
            raise Rejected(f"{path}.thresholds[{i}].priority", "is no priority")
        found.setdefault(each.priority, _thresholds(each))
    return found.get(0, Thresholds()), found.get(_HIGH, Thresholds())


def _thresholds(message: circuit_breaker_pb2.CircuitBreakers.Thresholds) -> Thresholds:
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
    )


def outlier_detection(message: outlier_detection_pb2.OutlierDetection) -> OutlierDetection:
    base_s = seconds_or(message, "base_ejection_time", 30.0)
    return OutlierDetection(
        consecutive_5xx=value_or(message, "consecutive_5xx", 5),
        consecutive_gateway_failure=value_or(message, "consecutive_gateway_failure", 5),
        enforcing_consecutive_5xx=value_or(message, "enforcing_consecutive_5xx", 100),
        enforcing_consecutive_gateway_failure=value_or(
            message, "enforcing_consecutive_gateway_failure", 0
        ),
        interval_s=seconds_or(message, "interval", 10.0),
        base_ejection_time_s=base_s,
        # Envoy: the default, or base_ejection_time where that is larger.
        max_ejection_time_s=seconds_or(message, "max_ejection_time", max(300.0, base_s)),
        max_ejection_percent=value_or(message, "max_ejection_percent", 10),
        always_eject_one_host=value_or(message, "always_eject_one_host", False),
        split_external_local_origin_errors=message.split_external_local_origin_errors,
        consecutive_local_origin_failure=value_or(message, "consecutive_local_origin_failure", 5),
        enforcing_consecutive_local_origin_failure=value_or(
            message, "enforcing_consecutive_local_origin_failure", 100
        ),
    )
