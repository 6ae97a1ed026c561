"""Retry policies, and which requests get which.

A request that may have been processed is repeated only if its method is idempotent. So a default
policy becomes two routes: one for idempotent methods with all conditions, one for the others with
those that prove that nobody saw the request. A `retryOn` that a user wrote is taken as written.
"""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import RetryPolicy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import (
    PreviousHostsPredicate,
)
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)

from controlplane.emit.matches import IDEMPOTENT
from controlplane.emit.words import packed, seconds
from controlplane.mesh.model import Retry, RouteMatch
from protos.frozen import frozen

NOT_PROCESSED = ("connect-failure", "refused-stream")
DEFAULT_RETRY_ON = (*NOT_PROCESSED, "unavailable", "cancelled", "retriable-status-codes")
DEFAULT = Retry(2, retry_on=DEFAULT_RETRY_ON, retriable_status_codes=(503,))
"""Istio's default for rules that say nothing."""

PRIORITY_EVERY = 2
"""Istio: two tries in each priority before the next one."""

IDEMPOTENT_EXTRA = ("reset",)
"""An idempotent request whose connection broke without an answer may go elsewhere too."""


@frozen
class Variant:
    """One of the routes that a match becomes: with idempotent_only before without."""

    idempotent_only: bool
    policy: RetryPolicy | None


def variants(match: RouteMatch, retry: Retry | None) -> tuple[Variant, ...]:
    """The routes that `match` needs under `retry` (None: the default)."""
    retry = DEFAULT if retry is None else retry
    if retry.attempts == 0:
        return (Variant(False, None),)
    if retry.retry_on and set(retry.retry_on) != set(DEFAULT_RETRY_ON):
        return (Variant(False, _policy(retry, retry.retry_on)),)
    every = _policy(retry, (*DEFAULT_RETRY_ON, *IDEMPOTENT_EXTRA))
    safe = _policy(retry, NOT_PROCESSED)
    if match.method is not None and match.method.kind == "exact":
        return (Variant(False, every if match.method.value in IDEMPOTENT else safe),)
    return (Variant(True, every), Variant(False, safe))


def _policy(retry: Retry, retry_on: tuple[str, ...]) -> RetryPolicy:
    policy = RetryPolicy(retry_on=",".join(retry_on))
    policy.num_retries.value = retry.attempts
    if "retriable-status-codes" in retry_on:
        policy.retriable_status_codes.extend(retry.retriable_status_codes or (503,))
    if retry.per_try_timeout_s is not None:
        policy.per_try_timeout.CopyFrom(seconds(retry.per_try_timeout_s))
    if retry.backoff_s is not None:
        policy.retry_back_off.base_interval.CopyFrom(seconds(retry.backoff_s))
    if retry.remote_localities:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        further = PreviousPrioritiesConfig(update_frequency=PRIORITY_EVERY)
        policy.retry_priority.typed_config.CopyFrom(packed(further))
    if retry.previous_hosts:
        policy.host_selection_retry_max_attempts = 5
        policy.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=packed(PreviousHostsPredicate()),
        )
    return policy
