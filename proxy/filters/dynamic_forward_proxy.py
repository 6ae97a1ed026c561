"""`envoy.filters.http.dynamic_forward_proxy`: waits until the name that a request wants is known.

The names are kept by the cluster of the request's route, which is of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, cast

from proxy.config.filters.decode_dynamic_forward_proxy import TYPE_URL, HostRewrite
from proxy.filters.api import WAIT, Answer, Filter, FilterContext, FilterStream, Hooks, Reply

NAMESPACE = "envoy.filters.http.dynamic_forward_proxy"
OVERFLOW = Reply(503, b"DNS cache overflow", detail="dns_cache_overflow")
PENDING_OVERFLOW = Reply(
    503,
    b"Dynamic forward proxy pending request overflow",
    detail="dns_cache_pending_requests_overflow",
)
FAILURE = Reply(503, b"DNS resolution failure", flag="DF", detail="dns_resolution_failure")

__all__ = ["TYPE_URL", "build"]


class Forwards(Protocol):
    """The cluster, as far as this filter knows it."""

    def load(
        self, authority: bytes, done: Callable[[], None]
    ) -> Literal["there", "loading", "overflow", "pending overflow"]: ...
    def forget(self, authority: bytes, done: Callable[[], None]) -> None: ...
    def resolved(self, authority: bytes) -> bool: ...


def build(config: object, context: FilterContext) -> Filter:
    return DynamicForwardProxy(context)


class DynamicForwardProxy:
    def __init__(self, context: FilterContext) -> None:
        self._context = context

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        rewrite = overrides[0] if overrides else HostRewrite()
        assert isinstance(rewrite, HostRewrite)
        waiter = Waiter(rewrite, self._context)
        return Hooks(on_request=waiter.on_request, at_end=waiter.at_end)


class Waiter:
    """A stream that waits has the name and what to call in its filter state, under NAMESPACE."""

    def __init__(self, rewrite: HostRewrite, context: FilterContext) -> None:
        self._rewrite = rewrite
        self._context = context

    def on_request(self, stream: FilterStream) -> Answer:
        cluster = self._cluster(stream)
        if cluster is None:
            return None
        self._rewrite_host(stream)
        authority = stream.request.authority

        def done() -> None:
            stream.filter_state.pop(NAMESPACE, None)
            stream.resume(None if cluster.resolved(authority) else FAILURE)

        loaded = cluster.load(authority, done)
        if loaded == "loading":
            stream.filter_state[NAMESPACE] = (cluster, authority, done)
            return WAIT
        if loaded == "there":
            return None if cluster.resolved(authority) else FAILURE
        return OVERFLOW if loaded == "overflow" else PENDING_OVERFLOW

    def at_end(self, stream: FilterStream) -> None:
        waiting = stream.filter_state.pop(NAMESPACE, None)
        if waiting is not None:
            cluster, authority, done = waiting
            cluster.forget(authority, done)

    def _cluster(self, stream: FilterStream) -> Forwards | None:
        route = stream.route
        cluster = self._context.clusters.get(route.cluster_name) if route is not None else None
        return cast(Forwards, cluster) if hasattr(cluster, "load") else None

    def _rewrite_host(self, stream: FilterStream) -> None:
        rewrite, request = self._rewrite, stream.request
        if rewrite.literal:
            request.authority = rewrite.literal
        elif rewrite.header:
            value = request.headers.get(rewrite.header)
            if value:
                request.authority = value
