"""What an HTTP filter is, and all that it sees of a request: filters never import `l7`.

A filter module `proxy/filters/<name>.py` has `TYPE_URL` and a builder, entered in
`proxy.filters.FILTERS`. Its `for_route` is asked once per route and configuration for the `Hooks`
that apply there, so that nothing which depends on configuration only is decided for a request.

A request walks the `on_request` steps in the order of the filters, the router last. Each answers

    None       go on
    a Reply    I answer; it walks the reply hooks like an upstream's answer
    WAIT       stop here until `stream.resume()`; what comes of the body meanwhile is kept

Replies walk the hooks in the opposite order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from proxy.config.model import RouteMatch
from proxy.config.model.listeners import NO_EXPLANATIONS, Explanations
from proxy.config.model.rate_limits import RouteRateLimits
from proxy.connection import ConnectionInfo, Secured
from proxy.demand import Demand
from proxy.demand import Then as Then  # of who waits, for filters
from proxy.denials import Denials
from proxy.http.headers import Headers
from proxy.http.inquiry import Ask
from proxy.http.message import Request, Response
from proxy.runtime import RuntimeValues
from proxy.stats import Stats


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. headers: beside content-length and content-type. close: and hang up.

    flag: Envoy's response flag, for the access log. detail: its `%RESPONSE_CODE_DETAILS%`.
    grpc_status: of the answer to a gRPC request; None derives it from `status` (Envoy's rule).
    content_type: of the body, unless a header says another."""

    status: int
    body: bytes = b""
    flag: str = ""
    detail: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False
    grpc_status: int | None = None
    content_type: bytes = b"text/plain"


class Wait:
    """The type of WAIT."""


WAIT: Final = Wait()
Answer = Reply | Wait | None


class RouteView(Protocol):
    """What a filter may know of the route. metadata: by filter namespace."""

    @property
    def name(self) -> str: ...
    @property
    def virtual_host(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def cluster_name(self) -> str:
        """'' if it is not known before the request is."""

    @property
    def rate_limits(self) -> RouteRateLimits | None:
        """None where neither it nor its virtual host has any."""

    @property
    def forwards(self) -> bool:
        """To a cluster; else it answers by itself (direct response, redirect)."""


class Latency(Protocol):
    def record(self, took_s: float, now: float) -> None: ...


class MeasuredHost(Protocol):
    """latency: takes how long answers took; None where nobody wants to know. text: its address.
    metadata: of the endpoint, by filter namespace."""

    @property
    def text(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def latency(self) -> Latency | None: ...


class FilterStream(Protocol):
    """One request and its reply. metadata: dynamic metadata, by namespace. filter_state: objects
    by name. request_done: all of the request is here. started: monotonic seconds. response, status:
    of the answer, None and 0 until there is one. buffer_limit_bytes: more of the body is not read
    while a filter waits, 0 is the listener's limit; who needs a whole body sets its own.
    health_check: it only asks how we are. sent_at, answered_at: monotonic seconds, when the request
    was whole and could be sent, and when the upstream's answer began; 0.0 before. tried_at: when a
    later attempt than the first was sent. ended: when it was over, for `at_end`."""

    request: Request
    response: Response | None
    request_done: bool
    started: float
    status: int
    flags: str
    detail: str
    bytes_sent: int
    buffer_limit_bytes: int
    health_check: bool
    sent_at: float
    tried_at: float
    answered_at: float
    ended: float

    @property
    def response_trailers(self) -> Headers | None: ...
    @property
    def cluster(self) -> ClusterView | None:
        """Whom the router asked, last; None before it has."""

    @property
    def upstream_tls(self) -> Secured | None:
        """Of the connection to the host, last; None if that is in plain text."""

    @property
    def body_received(self) -> int:
        """Bytes of the request's body that are here."""

    @property
    def host(self) -> MeasuredHost | None:
        """Whom the request went to, last."""

    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def remote(self) -> tuple[str, int]:
        """The client's address as far as `x-forwarded-for` is trusted, else the connection's."""

    @property
    def route(self) -> RouteView | None: ...
    @property
    def metadata(self) -> dict[str, dict[str, Any]]: ...
    @property
    def filter_state(self) -> dict[str, Any]: ...

    def resume(self, answer: Answer = None) -> None:
        """Whoever said WAIT goes on, or answers; nothing if the stream is over. From the data hook
        of the same filter, too; never from within the step itself."""

    def respond(self, reply: Reply) -> None:
        """Answers at any time; cuts the client off if an answer has begun."""

    def flag(self, flag: str, detail: str) -> None:
        """Adds a response flag, and sets the detail unless it is ''."""

    def prefer_host(self, address: str, strict: bool) -> None:
        """The first attempt goes to this host of the cluster (Envoy's override host), if that may
        take it; else to any other, or with `strict` to none."""

    def throttle(self, bytes_per_s: int) -> None:
        """The body of the answer goes no faster than that."""

    def reroute(self) -> None:
        """The request was changed: its route is looked for again (Envoy's clearRouteCache)."""

    def restart(self) -> None:
        """The table has changed, for which it waited: its route is looked for again, and filters
        are walked from the first one (Envoy's recreateStream)."""


Step = Callable[[FilterStream], Answer]
OnResponse = Callable[[FilterStream, Response], Reply | None]
OnData = Callable[[FilterStream, bytes, bool], bytes]
OnEnd = Callable[[FilterStream, Headers | None], None]
MissingCluster = Callable[[FilterStream, str, Then], Answer]
"""A cluster's name, and what to call when it is there (if the answer is WAIT)."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What one filter does on one route; None where it does nothing.

    on_response may answer a Reply, which takes the answer's place without walking the hooks again;
    it does not call `respond`.

    on_*_data gets each piece of a body and gives what is passed on in its place. end: it is the
    last one, and may be b''; a message without a body has none. Who changes the length takes
    `content-length` out and sets the message's `length` to CHUNKED.

    on_*_end is called once when a message is whole, with its trailers (which it may edit) or None.
    at_end: the stream is over, before it is logged.

    on_missing_route: there is no route, and no filter was walked; whoever waits for one ends with
    `restart` or `resume`. on_missing_cluster: the router finds no such cluster."""

    on_request: Step | None = None
    on_response: OnResponse | None = None
    on_request_data: OnData | None = None
    on_response_data: OnData | None = None
    on_request_end: OnEnd | None = None
    on_response_end: OnEnd | None = None
    at_end: Callable[[FilterStream], None] | None = None
    on_missing_route: Step | None = None
    on_missing_cluster: MissingCluster | None = None


class Filter(Protocol):
    """A filter of one connection manager."""

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        """overrides: the route's own configurations of this filter, the most specific first: of
        the weighted cluster, the route, the virtual host, the route configuration. None: nothing to
        do here."""


class HostView(Protocol):
    @property
    def healthy(self) -> bool: ...
    @property
    def degraded(self) -> bool: ...


class ClusterView(Protocol):
    """What a filter may know of a cluster."""

    @property
    def name(self) -> str: ...
    @property
    def hosts(self) -> Sequence[HostView]: ...
    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]:
        """Of its configuration, by filter namespace."""


@dataclass(frozen=True, slots=True)
class FilterContext:
    """What a filter is built with. stat_prefix: `http.<stat_prefix>.` of the manager. clusters: as
    they are at the time of asking. call_later: (seconds, what to do). now: monotonic seconds.
    unix_now: seconds since the epoch. format: compiles a format string for header values; raises
    ValueError. failing: the administrator wants health checks to fail. ask: puts a request of our
    own to a cluster. route_match: compiles what routes match by; None takes every request.
    denials: who was turned away of late. node_cluster: of the node that this proxy is. own_uri: of
    the certificate that clients see. explanations: of the filter chain's policies. demand:
    where requests wait for what is fetched. table_name: of the routes over RDS, '' for others.
    node_id, node_metadata: as the control plane knows this proxy. inbound: of a listener for what
    comes into the workload."""

    stats: Stats
    stat_prefix: str
    random: Random
    runtime: RuntimeValues
    clusters: Mapping[str, ClusterView]
    call_later: Callable[[float, Callable[[], None]], object]
    now: Callable[[], float]
    unix_now: Callable[[], float]
    format: Callable[[str], Callable[[FilterStream], bytes]]
    failing: Callable[[], bool]
    ask: Ask
    route_match: Callable[[RouteMatch], Callable[[Request, FilterStream], bool] | None]
    denials: Denials
    node_cluster: str = ""
    own_uri: str = ""
    explanations: Explanations = NO_EXPLANATIONS
    demand: Demand | None = None
    table_name: str = ""
    node_id: str = ""
    node_metadata: Mapping[str, Any] = field(default_factory=dict)
    inbound: bool = False


Builder = Callable[[Any, FilterContext], Filter]
