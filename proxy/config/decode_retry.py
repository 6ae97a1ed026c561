"""Decodes a retry policy. Its `retry_on` words are Envoy's; an unknown one is refused here,
where Envoy ignores it: a retry that never happens is no use to anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from envoy.config.route.v3 import route_components_pb2

from proxy.config.any_types import message_type
from proxy.config.decode_common import (
    choice,
    metadata,
    optional_seconds,
    seconds,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.decode_matchers import header_matchers
from proxy.config.model import RateLimitedBackOff, ResetHeader, RetryBackOff, RetryPolicy
from proxy.config.model.retry import GRPC_RETRY_ON, HTTP_RETRY_ON
from proxy.config.rejected import Rejected

RETRY_ON = HTTP_RETRY_ON | GRPC_RETRY_ON
_MAX_INTERVAL_FACTOR = 10
"""Envoy: without `max_interval` it is ten times `base_interval`."""
_MIN_INTERVAL_S = 0.001
_FORMATS: Mapping[int, Literal["SECONDS", "UNIX_TIMESTAMP"]] = {0: "SECONDS", 1: "UNIX_TIMESTAMP"}
_PREVIOUS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_CANARY = "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
_METADATA = "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"
_PREDICATES = (_PREVIOUS, _CANARY, _METADATA)
_PRIORITIES = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"


def retry_policy(message: route_components_pb2.RetryPolicy, path: str) -> RetryPolicy:
    """`message` must be checked."""
    predicates = _host_predicates(message, f"{path}.retry_host_predicate")
    return RetryPolicy(
        retry_on=_retry_on(message.retry_on, f"{path}.retry_on"),
        num_retries=value_or(message, "num_retries", 1),
        per_try_timeout_s=optional_seconds(message, "per_try_timeout"),
        per_try_idle_timeout_s=optional_seconds(message, "per_try_idle_timeout"),
        retriable_status_codes=frozenset(message.retriable_status_codes),
        retriable_headers=header_matchers(message.retriable_headers, f"{path}.retriable_headers"),
        retriable_request_headers=header_matchers(
            message.retriable_request_headers, f"{path}.retriable_request_headers"
        ),
        back_off=_back_off(message, f"{path}.retry_back_off"),
        rate_limited_back_off=_rate_limited(message, f"{path}.rate_limited_retry_back_off"),
        previous_hosts=any(name == _PREVIOUS for name, _ in predicates),
        omit_canary_hosts=any(name == _CANARY for name, _ in predicates),
        omit_host_metadata=tuple(
            dict(metadata(each.metadata_match).get("envoy.lb", {}))
            for name, each in predicates
            if name == _METADATA
        ),
        host_selection_retry_max_attempts=message.host_selection_retry_max_attempts or 1,
        previous_priorities=_previous_priorities(message, f"{path}.retry_priority"),
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
    base_s = max(_MIN_INTERVAL_S, seconds(back_off.base_interval))
    max_s = optional_seconds(back_off, "max_interval")
    if max_s is None:
        return RetryBackOff(base_s, base_s * _MAX_INTERVAL_FACTOR)
    max_s = max(_MIN_INTERVAL_S, max_s)
    if max_s < base_s:
        raise Rejected(f"{path}.max_interval", "is less than base_interval")
    return RetryBackOff(base_s, max_s)


def _rate_limited(
    message: route_components_pb2.RetryPolicy, path: str
) -> RateLimitedBackOff | None:
    if not message.HasField("rate_limited_retry_back_off"):
        return None
    back_off = message.rate_limited_retry_back_off
    headers = tuple(
        ResetHeader(
            each.name.lower(), choice(_FORMATS, each.format, f"{path}.reset_headers[{i}].format")
        )
        for i, each in enumerate(back_off.reset_headers)
    )
    max_s = optional_seconds(back_off, "max_interval")
    if max_s is None:
        return RateLimitedBackOff(headers)
    return RateLimitedBackOff(headers, max(_MIN_INTERVAL_S, max_s))


def _host_predicates(message: route_components_pb2.RetryPolicy, path: str) -> list[tuple[str, Any]]:
    """The name of each one's message, and the message."""
    found = []
    for i, predicate in enumerate(message.retry_host_predicate):
        where = f"{path}[{i}].typed_config"
        name = type_name(predicate.typed_config)
        if name not in _PREDICATES:
            raise unsupported_type(predicate.typed_config, where, _PREDICATES)
        found.append((name, unpack(message_type(name), predicate.typed_config, where)))
    return found


def _previous_priorities(message: route_components_pb2.RetryPolicy, path: str) -> int | None:
    """Envoy reads a retry priority only where it has a name."""
    if not message.retry_priority.name:
        return None
    packed = message.retry_priority.typed_config
    config = unpack(message_type(_PRIORITIES), packed, f"{path}.typed_config")
    return int(config.update_frequency)


def hedges(message: Any) -> bool | None:
    """`hedge_policy` of a virtual host or a route: hedge_on_per_try_timeout, None where it is not
    set."""
    if not message.HasField("hedge_policy"):
        return None
    found: bool = message.hedge_policy.hedge_on_per_try_timeout
    return found
