"""Decodes a retry policy. Its `retry_on` words are Envoy's; an unknown one is refused here,
where Envoy ignores it: a retry that never happens is no use to anybody."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from proxy.config.decode_common import optional_seconds, seconds, unpack, value_or
from proxy.config.decode_matchers import header_matchers
from proxy.config.model import RetryBackOff, RetryPolicy
from proxy.config.rejected import Rejected

RETRY_ON = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_MAX_INTERVAL_FACTOR = 10
"""Envoy: without `max_interval` it is ten times `base_interval`."""


def retry_policy(message: route_components_pb2.RetryPolicy, path: str) -> RetryPolicy:
    """`message` must be checked."""
    return RetryPolicy(
        retry_on=_retry_on(message.retry_on, f"{path}.retry_on"),
        num_retries=value_or(message, "num_retries", 1),
        per_try_timeout_s=optional_seconds(message, "per_try_timeout"),
        retriable_status_codes=frozenset(message.retriable_status_codes),
        retriable_headers=header_matchers(message.retriable_headers, f"{path}.retriable_headers"),
        back_off=_back_off(message, f"{path}.retry_back_off"),
        previous_hosts=_previous_hosts(message, f"{path}.retry_host_predicate"),
        host_selection_retry_max_attempts=message.host_selection_retry_max_attempts or 1,
    )


def _retry_on(words: str, path: str) -> frozenset[str]:
    found = frozenset(word.strip() for word in words.split(",") if word.strip())
    if unknown := sorted(found - RETRY_ON):
        raise Rejected(path, f"`{unknown[0]}` is no retry condition")
    return found


def _back_off(message: route_components_pb2.RetryPolicy, path: str) -> RetryBackOff:
    if not message.HasField("retry_back_off"):
        return RetryBackOff()
    back_off = message.retry_back_off
    base_s = seconds(back_off.base_interval)
    max_s = optional_seconds(back_off, "max_interval")
    if max_s is None:
        max_s = base_s * _MAX_INTERVAL_FACTOR
    if max_s < base_s:
        raise Rejected(f"{path}.max_interval", "is less than base_interval")
    return RetryBackOff(base_s, max_s)


def _previous_hosts(message: route_components_pb2.RetryPolicy, path: str) -> bool:
    for i, predicate in enumerate(message.retry_host_predicate):
        where = f"{path}[{i}].typed_config"
        unpack(previous_hosts_pb2.PreviousHostsPredicate, predicate.typed_config, where)
    return bool(message.retry_host_predicate)
