"""`envoy.filters.http.local_ratelimit`: so many requests and no more, by token buckets.

Buckets belong to one proxy process; with `local_rate_limit_per_downstream_connection` each
connection has its own. A route's configuration replaces the filter's, with buckets of its own.
"""

from __future__ import annotations

from proxy.config.filters.decode_local_ratelimit import TYPE_URL, LocalRateLimitConfig
from proxy.filters.api import Answer, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.filters.descriptors import Describe, describer, describer_by_route
from proxy.filters.mutations import adder
from proxy.filters.shares import draw
from proxy.filters.token_bucket import Buckets, TokenBucket
from proxy.http.headers import Headers
from proxy.http.message import Response

STATE = "envoy.filters.http.local_ratelimit"
CONNECTION_STATE = "per_connection_local_rate_limiter"
RESOURCE_EXHAUSTED = 8

__all__ = ["TYPE_URL", "build"]


def build(config: LocalRateLimitConfig, context: FilterContext) -> Filter:
    return LocalRateLimit(config, context)


class LocalRateLimit:
    def __init__(self, config: LocalRateLimitConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, LocalRateLimitConfig)
        if config.enabled is None:
            return None
        limiter = Limiter(config, self._context)
        return Hooks(limiter.on_request, limiter.on_response if config.tells_limits else None)


def _describer(config: LocalRateLimitConfig, node_cluster: str) -> Describe | None:
    if config.rate_limits:
        return describer(config.rate_limits, config.stage, node_cluster)
    if not config.descriptors:
        return None
    return describer_by_route(config.vh_rate_limits, config.stage, node_cluster)


class Limiter:
    """One configuration with its buckets."""

    def __init__(self, config: LocalRateLimitConfig, context: FilterContext) -> None:
        self._config = config
        self._now = context.now
        self._enabled = draw(config.enabled, context)
        self._enforced = draw(config.enforced, context)
        self._describe = _describer(config, context.node_cluster)
        self._request_add = adder(config.request_add, context.format)
        self._response_add = adder(config.response_add, context.format)
        self._buckets = self._fresh()
        prefix = f"{config.stat_prefix}.http_local_rate_limit."
        counter = context.stats.counter
        self._n_enabled, self._n_enforced = (
            counter(f"{prefix}enabled"),
            counter(f"{prefix}enforced"),
        )
        self._n_ok, self._n_limited = counter(f"{prefix}ok"), counter(f"{prefix}rate_limited")

    def _fresh(self) -> Buckets:
        config = self._config
        return Buckets(
            config.bucket,
            config.descriptors,
            config.always_default_bucket,
            config.max_dynamic_descriptors,
            self._now(),
        )

    def on_request(self, stream: FilterStream) -> Answer:
        if not self._enabled():
            return None
        self._n_enabled.value += 1
        described = self._describe(stream) if self._describe is not None else ()
        allowed, bucket = self._buckets_for(stream).take(described, self._now())
        if self._config.tells_limits and bucket is not None:
            stream.filter_state[STATE] = bucket
        if allowed:
            self._n_ok.value += 1
            return None
        self._n_limited.value += 1
        if self._enforced():
            self._n_enforced.value += 1
            return self._refusal(stream)
        if self._request_add is not None:
            self._request_add(stream, stream.request.headers, stream.request)
        return None

    def on_response(self, stream: FilterStream, response: Response) -> None:
        bucket = stream.filter_state.get(STATE)
        if not isinstance(bucket, TokenBucket):
            return
        now, headers = self._now(), response.headers
        headers.add(b"x-ratelimit-limit", b"%d" % bucket.max_tokens)
        headers.add(b"x-ratelimit-remaining", b"%d" % bucket.remaining(now))
        headers.add(b"x-ratelimit-reset", b"%d" % bucket.reset_s(now))

    def _buckets_for(self, stream: FilterStream) -> Buckets:
        if not self._config.per_connection:
            return self._buckets
        info = stream.info
        if info.state is None:
            info.state = {}
        found = info.state.get(CONNECTION_STATE)
        if not isinstance(found, Buckets):
            found = info.state[CONNECTION_STATE] = self._fresh()
        return found

    def _refusal(self, stream: FilterStream) -> Reply:
        config = self._config
        headers = Headers()
        if self._response_add is not None:
            self._response_add(stream, headers, None)
        return Reply(
            config.status,
            b"local_rate_limited",
            "RL",
            "local_rate_limited",
            tuple(headers),
            grpc_status=RESOURCE_EXHAUSTED if config.resource_exhausted else None,
        )
