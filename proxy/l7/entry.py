"""A route at run time: whom it asks, and what it does to request and answer on the way.

Made by `compile`; everything that depends only on configuration is already decided. `answer` is
set for routes that answer by themselves (redirect, direct response).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from proxy.config.model.rate_limits import RouteRateLimits
from proxy.config.model.tracing import Decorator, RouteTracing
from proxy.filters.api import Reply
from proxy.http.message import Response
from proxy.l7.durations import GrpcTimeout
from proxy.l7.extra_stats import RequestStats
from proxy.l7.internal_redirect import InternalRedirects
from proxy.l7.mirror import Mirror
from proxy.l7.stream import Stream
from proxy.upstream.cluster import Cluster
from proxy.upstream.retry import RetryRule

NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ConnectRule:
    """CONNECT ends here and its bytes go on as TCP. allow_post: so does a POST. proxy_protocol: the
    version of the header that the bytes begin with."""

    allow_post: bool
    proxy_protocol: Literal["V1", "V2"] | None


def _nobody(_: Stream) -> Cluster | None:
    return None


def _nothing(_: Stream) -> None:
    return None


class RouteEntry:
    """pick: the weighted cluster's own entry for a request, which it follows instead. choose: the
    cluster of this request, None if it does not exist. name_of: its name, where that comes with the
    request. rewrite: edits the request before its first
    attempt. before_send: before each attempt. edit_response: edits an answer that came by this
    route, our own ones too.

    timeout_s, per_try_timeout_s: 0 is none. idle_timeout_s, max_stream_duration_s: None is the
    connection manager's. limits_duration: there is one for the whole stream. grpc_timeout:
    `timeout_s` by the client's word; grpc_stream_timeout: the same for the whole stream.

    begins_plain, has_extras: see `sum_up`. hedges: a slow attempt goes on
    beside a new one.
    tells_timeout_retry: each retry says whether a timeout was the reason. tells_time: answers carry
    the upstream's time. buffer_limit_bytes: of the body that is kept for another attempt, None is
    the listener's limit. hash: of the request, for balancers that hash. overrides: configurations
    of filters, by name, the most specific first. upgrades: by type in lower case, whether allowed.
    strict_check: refuses bad steering headers. respects_expected: the time that a proxy before us
    still has is the timeout. counted: the virtual cluster of a request. stats: of `stat_prefix`."""

    # No __slots__: of thousands of routes most have few facts of their own, and the others stand in
    # the class. All defaults are immutable.
    answer: Callable[[Stream], Reply] | None = None
    pick: Callable[[Stream], RouteEntry | None] | None = None
    choose: Callable[[Stream], Cluster | None]
    name_of: Callable[[Stream], str] | None = None
    rewrite: Callable[[Stream], None]
    before_send: Callable[[Stream], None] | None = None
    edit_response: Callable[[Stream, Response], None] | None = None
    not_found_status = 503
    priority = "DEFAULT"
    timeout_s = 15.0
    per_try_timeout_s = 0.0
    idle_timeout_s: float | None = None
    max_stream_duration_s: float | None = None
    grpc_timeout: GrpcTimeout | None = None
    grpc_stream_timeout: GrpcTimeout | None = None
    limits_duration = False
    begins_plain = False
    has_extras = True
    strict_check: Callable[[Stream], Reply | None] | None = None
    respects_expected = False
    retry: RetryRule | None = None
    hedges = False
    tells_timeout_retry = False
    tells_time = True
    buffer_limit_bytes: int | None = None
    hash: Callable[[Any], int | None] | None = None
    metadata_match: Mapping[str, Any] = NOTHING
    mirrors: tuple[Mirror, ...] = ()
    internal_redirect: InternalRedirects | None = None
    connect: ConnectRule | None = None
    counted: Callable[[Stream], RequestStats | None] | None = None
    stats: RequestStats | None = None
    virtual_host = ""
    cluster_name = ""
    metadata: Mapping[str, Any] = NOTHING
    overrides: Mapping[str, tuple[object, ...]] = NOTHING
    upgrades: Mapping[bytes, bool] = NOTHING
    rate_limits: RouteRateLimits | None = None
    tracing: RouteTracing | None = None
    decorator: Decorator | None = None

    name: str

    def __init__(self, name: str, answer: Callable[[Stream], Reply] | None = None) -> None:
        self.name = name
        self.choose = _nobody
        self.rewrite = _nothing
        if answer is not None:
            self.answer = answer

    def sum_up(self, steers: bool) -> None:
        """All facts are known: a request by a plain route asks for the rare ones together. steers:
        its edits give a request headers that steer retries."""
        self.begins_plain = not self.overrides and not self.limits_duration
        self.has_extras = (
            steers
            or self.retry is not None
            or self.strict_check is not None
            or self.respects_expected
            or self.grpc_timeout is not None
            or self.counted is not None
            or self.stats is not None
            or self.internal_redirect is not None
            or self.connect is not None
            or bool(self.mirrors)
        )

    def learn(self, **facts: Any) -> None:
        """Sets what differs from the default; the rest costs nothing."""
        for name, value in facts.items():
            if value != getattr(self, name):
                setattr(self, name, value)

    @property
    def forwards(self) -> bool:
        return self.answer is None
