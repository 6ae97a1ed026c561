"""When a request is tried again (`route.v3.RetryPolicy`, `HedgePolicy`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from protos.frozen import frozen
from proxy.config.model.common import HeaderMatcher

GRPC_RETRY_ON = frozenset(
    {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)
HTTP_RETRY_ON = frozenset(
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
    }
)
"""Words of `retry_on`; a route may have those of gRPC among them."""


@frozen
class RetryBackOff:
    """Both at least a millisecond, as Envoy rounds them."""

    base_interval_s: float = 0.025
    max_interval_s: float = 0.25


@frozen
class ResetHeader:
    """A header of an answer that says when to come back. name: lower-case."""

    name: str
    format: Literal["SECONDS", "UNIX_TIMESTAMP"] = "SECONDS"


@frozen
class RateLimitedBackOff:
    """The first of `reset_headers` that asks for at most `max_interval_s` decides."""

    reset_headers: tuple[ResetHeader, ...]
    max_interval_s: float = 300.0


@frozen
class RetryPolicy:
    """retry_on holds Envoy's words, each checked when decoded. A retry rather does not go to hosts
    that were tried (previous_hosts), to canaries, or to those with all of some `envoy.lb` values
    (omit_host_metadata). previous_priorities: its `update_frequency`, None without it."""

    retry_on: frozenset[str]
    num_retries: int = 1
    per_try_timeout_s: float | None = None
    per_try_idle_timeout_s: float | None = None
    retriable_status_codes: frozenset[int] = frozenset()
    retriable_headers: tuple[HeaderMatcher, ...] = ()
    retriable_request_headers: tuple[HeaderMatcher, ...] = ()
    back_off: RetryBackOff = RetryBackOff()
    rate_limited_back_off: RateLimitedBackOff | None = None
    previous_hosts: bool = False
    omit_canary_hosts: bool = False
    omit_host_metadata: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    host_selection_retry_max_attempts: int = 1
    previous_priorities: int | None = None
