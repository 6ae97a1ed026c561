"""What a policy may look at of the request that a host is picked for. A `Stream` is one.

Only consistent hashing, subsets and clusters that make their hosts up look at it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from proxy.connection import ConnectionInfo
from proxy.http.message import Request
from proxy.upstream.host import Host

Picker = Callable[[], Host | None]


class PickRoute(Protocol):
    """What the route says about the choice. metadata_match: the keys of `envoy.lb` that a host's
    subset must have."""

    @property
    def hash(self) -> Callable[[Any], int | None] | None: ...
    @property
    def metadata_match(self) -> Mapping[str, Any]: ...


class PickContext(Protocol):
    """metadata: dynamic metadata. A TCP connection has neither route nor request."""

    @property
    def route(self) -> PickRoute | None: ...
    @property
    def request(self) -> Request | None: ...
    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


class RetryContext(PickContext, Protocol):
    """tried_priorities: those that a retry leaves out while there are others."""

    @property
    def tried_priorities(self) -> frozenset[int]: ...


class ContextPicker(Protocol):
    """attempt: above 0 where an earlier pick for the same context was not acceptable."""

    def __call__(self, context: PickContext | None, attempt: int = 0) -> Host | None: ...


def hash_of(context: PickContext | None) -> int | None:
    """The hash of the route's `hash_policy`, 64 bits; None where there is nothing to hash."""
    if context is None or context.route is None or context.route.hash is None:
        return None
    return context.route.hash(context)


def metadata_of(context: PickContext | None) -> Mapping[str, Any]:
    if context is None or context.route is None:
        return {}
    return context.route.metadata_match
