"""A connection manager at run time: what the streams of one filter chain have in common.

Made by `compile` from an `HttpConnectionManager`. Its route table is one reference that a push
swaps; streams keep the route they began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.config.model import HttpConnectionManager
from proxy.connection import ConnectionInfo
from proxy.filters.api import Reply
from proxy.http.errors import Malformed
from proxy.http.h1 import Limits, proper_response_head, response_head
from proxy.http.headers import Pick, Shape, edited_shape, remember
from proxy.http.message import Request, Response
from proxy.l7.chain import Chain
from proxy.l7.clean import append_via, request_cleaner
from proxy.l7.forwarding import Forwarding
from proxy.l7.local_reply import Mapper
from proxy.l7.manager_stats import ManagerStats
from proxy.l7.reply import (
    BAD_PATH,
    MISSING_HOST,
    NO_ORIGIN_FORM,
    QUERY_WITHOUT_TYPE,
    REQUEST_TIMEOUT,
    STREAM_IDLE,
)
from proxy.l7.worker import Worker
from proxy.route.table import Table
from proxy.stats import Stats
from proxy.upstream.codec_options import codec_options
from proxy.upstream.tcp import OpenTcp

if TYPE_CHECKING:
    from proxy.l7.downstream import ClientConnection
    from proxy.l7.entry import RouteEntry
    from proxy.l7.sniffer import Sniffer
    from proxy.l7.stream import Stream

REJECTED_UNDERSCORES = "http1.requests_rejected_with_underscores_in_headers"
DROPPED_UNDERSCORES = "http1.dropped_headers_with_underscores"
SERVICE_TIME = b"x-envoy-upstream-service-time"
MAX_KNOWN = 512


class Chains(Protocol):
    """Where the chains of a manager come from (`compile`)."""

    def chain(self, overrides: Mapping[str, tuple[object, ...]]) -> Chain:
        """overrides: what a route says to filters, by name and the most specific first."""

    def forget(self) -> None:
        """The routes have changed."""


# The new shape, what to keep, whether the date is added, and the server's name if it is.
Finish = tuple[Shape, Pick | None, bool, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Upgrade:
    """An entry of `upgrade_configs`. chains: None where it has no filters of its own."""

    enabled: bool
    chains: Chains | None


class HttpManager:
    """chain: of routes that say nothing to a filter. loggers: called with each stream at its end.
    own_uri: of our certificate, for XFCC.
    draining: answers end their connections, and idle ones end at drained_at (monotonic).
    local_replies: what `local_reply_config` makes of our own answers; lost_chain: of requests
    without a route, where one may yet be fetched. Both are set by who makes it."""

    local_replies: Mapper | None = None
    lost_chain: Chain | None = None

    def __init__(
        self,
        config: HttpConnectionManager,
        worker: Worker,
        stats: Stats,
        chains: Chains,
        upgrades: Mapping[bytes, Upgrade],
        open_tcp: OpenTcp,
        loggers: tuple[Callable[[Stream], None], ...],
        own_uri: bytes,
        buffer_limit_bytes: int,
    ) -> None:
        self.config = config
        self.worker = worker
        self.stats = ManagerStats(stats, config.stat_prefix)
        self._all_stats = stats
        self._counts = self.stats.statuses.counts
        self.response_head = proper_response_head if config.http1.proper_case else response_head
        self._maker = chains
        self.chain = chains.chain({})
        self.upgrades = upgrades
        self.open_tcp = open_tcp
        self._chains: dict[RouteEntry, Chain] = {}
        self.loggers = loggers
        self.logs_new_requests = config.logs_new_requests
        self.table: Table[RouteEntry] = Table()
        self.proxies_informational = config.proxy_100_continue
        self.draining = False
        self.drained_at = 0.0
        self.buffer_limit_bytes = buffer_limit_bytes
        self.limits = _limits(config, self._on_dropped)
        self.http2_options = codec_options(
            config.http2, config.max_request_headers_kb, config.max_headers_count
        )
        self._all_stats = stats
        self.idle_timeout_s = config.idle_timeout_s
        self.max_stream_duration_s = config.max_stream_duration_s
        self.headers_timeout_s = config.request_headers_timeout_s
        self.max_duration_s = config.max_connection_duration_s
        self.delayed_close_s = config.delayed_close_timeout_s
        self.own_uri = own_uri
        self.forwarding = Forwarding(config, own_uri)
        # What is done to each request before its route is looked for; it may answer.
        self.prepare: Callable[[Request, ConnectionInfo], Reply | None] = self.forwarding.apply
        if cleaner := request_cleaner(config):
            self.prepare = self._clean(cleaner)
        self._server = config.server_name.encode()
        # What to add to an answer of a shape: of our own, and of an upstream with its time.
        self._known: tuple[dict[Shape, Finish], dict[Shape, Finish]] = ({}, {})
        self._via = config.via.encode()
        self._tells_id = config.always_set_request_id_in_response

    def drain(self, now: float) -> None:
        """Answers end their connections from now on; idle ones close after `drain_timeout`."""
        if not self.draining:
            self.draining = True
            self.drained_at = now + self.config.drain_timeout_s

    def route_by(self, table: Table[RouteEntry]) -> None:
        """From now on; streams keep the route and the chain that they have."""
        self.table = table
        self._chains.clear()
        self._maker.forget()
        for upgrade in self.upgrades.values():
            if upgrade.chains is not None:
                upgrade.chains.forget()

    def chain_of(self, route: RouteEntry) -> Chain:
        if not route.overrides:
            return self.chain
        found = self._chains.get(route)
        if found is None:
            found = self._chains[route] = self._maker.chain(route.overrides)
        return found

    def upgrade_chain(self, kind: bytes, route: RouteEntry) -> Chain:
        """The filters of streams that are upgraded to `kind`: its own, or those of all."""
        configured = self.upgrades.get(kind)
        if configured is not None and configured.chains is not None:
            return configured.chains.chain(route.overrides)
        return self.chain_of(route)

    # ------------------------------------------------------------------ connections

    def count_http2(self, name: str) -> None:
        """An event of the codec, by Envoy's name for it; they are rare."""
        self._all_stats.counter(f"http2.{name}").value += 1

    def on_connection(self, connection: ClientConnection) -> None:
        self.worker.connections.add(connection)
        stats = self.stats
        stats.downstream_cx_total.value += 1
        stats.downstream_cx_active.value += 1
        protocol = connection.protocol
        if protocol == "http1":
            stats.downstream_cx_http1_total.value += 1
            stats.downstream_cx_http1_active.value += 1
        elif protocol == "http2":
            stats.downstream_cx_http2_total.value += 1
            stats.downstream_cx_http2_active.value += 1
        if connection.info.tls:
            stats.downstream_cx_ssl_total.value += 1
            stats.downstream_cx_ssl_active.value += 1

    def on_sniffed(self, connection: Sniffer) -> None:
        """It is known what it speaks: another takes its place, and is counted anew."""
        self.worker.connections.discard(connection)
        stats = self.stats
        stats.downstream_cx_total.value -= 1
        stats.downstream_cx_active.value -= 1
        if connection.info.tls:
            stats.downstream_cx_ssl_total.value -= 1
            stats.downstream_cx_ssl_active.value -= 1

    def on_connection_end(self, connection: ClientConnection) -> None:
        self.worker.connections.discard(connection)
        stats = self.stats
        stats.downstream_cx_destroy.value += 1
        stats.downstream_cx_active.value -= 1
        protocol = connection.protocol
        if protocol == "http1":
            stats.downstream_cx_http1_active.value -= 1
        elif protocol == "http2":
            stats.downstream_cx_http2_active.value -= 1
        if connection.info.tls:
            stats.downstream_cx_ssl_active.value -= 1

    def on_protocol_error(self, error: Malformed) -> None:
        self.stats.downstream_cx_protocol_error.value += 1
        if error.detail == "http1.unexpected_underscore":
            self._all_stats.counter(REJECTED_UNDERSCORES).value += 1

    def _on_dropped(self, headers: int) -> None:
        self._all_stats.counter(DROPPED_UNDERSCORES).value += headers

    # ------------------------------------------------------------------ streams

    def on_stream(self, stream: Stream) -> None:
        self.stats.downstream_rq_total.value += 1
        worker = self.worker
        if not worker.streams:
            worker.wake()
        worker.streams.add(stream)

    def on_stream_end(self, stream: Stream) -> None:
        self.worker.streams.discard(stream)
        stats = self.stats
        if stream.has_extras and stream.tunnels:
            stats.downstream_cx_upgrades_active.value -= 1
        status = stream.status
        if stream.cluster is None and not stream.reached_router:
            stats.unrouted += 1
        if stream.health_check:
            stats.unanswered += 1  # Envoy counts no answers of health checks
        elif status:
            try:
                self._counts[status] += 1
            except KeyError:
                stats.statuses.add(status)
            stats.downstream_rq_time.record((stream.ended - stream.started) * 1000)
        else:
            stats.unanswered += 1
            stats.downstream_rq_rx_reset.value += 1
        for log in self.loggers:
            log(stream)

    def log_now(self, stream: Stream, log_type: str) -> None:
        """A line before the end: the request has just come, or goes on and on."""
        usual, stream.log_type = stream.log_type, log_type
        stream.logged_at = monotonic()
        for log in self.loggers:
            log(stream)
        stream.log_type = usual

    def on_leg_end(self, stream: Stream) -> None:
        """An internal redirect sends the request on: Envoy counts and logs each leg."""
        self.stats.downstream_rq_total.value += 1
        self.stats.legs += 1
        for log in self.loggers:
            log(stream)

    def _clean(
        self, cleaner: Callable[[Request, ConnectionInfo], Reply | None]
    ) -> Callable[[Request, ConnectionInfo], Reply | None]:
        forward = self.forwarding.apply

        def prepare(request: Request, info: ConnectionInfo) -> Reply | None:
            return cleaner(request, info) or forward(request, info)

        return prepare

    def objection(self, request: Request) -> Reply | None:
        """What is to be said to a request about which its reader found something odd. The
        connection goes on if `stream_error_on_invalid_http_message` wants it to."""
        found = None
        if not request.authority:
            found = MISSING_HOST
        elif b"#" in request.path:
            found = BAD_PATH
        elif request.method == b"QUERY" and b"content-type" not in request.headers:
            found = QUERY_WITHOUT_TYPE
        elif request.path == b"*":
            found = NO_ORIGIN_FORM
        if found is not None and self.config.stream_error:
            return replace(found, close=False)
        return found

    def finish_response(self, stream: Stream, response: Response) -> None:
        """`server`, `date` and the upstream's time, on every answer."""
        headers = response.headers
        service_ms = stream.service_ms
        timed = service_ms is not None
        known = self._known[timed].get(headers.shape) or self._learn(headers.shape, timed)
        headers.shape, pick, adds_date, server = known
        values = headers.values if pick is None else pick(headers.values)
        if adds_date:
            values += (self.worker.date,)
        if service_ms is not None:
            values += (b"%d" % service_ms,)
        headers.values = values + server
        if self._via:
            append_via(headers, self._via)
        if self._tells_id:
            request_id = stream.request.headers.get(b"x-request-id")
            if request_id is not None:
                headers.set(b"x-request-id", request_id)

    def _learn(self, shape: Shape, timed: bool) -> Finish:
        mode = self.config.server_header
        adds_server = mode == "OVERWRITE" or (
            mode == "APPEND_IF_ABSENT" and b"server" not in shape.index
        )
        adds_date = b"date" not in shape.index
        removes = {b"server"} if adds_server else set()
        if timed:
            removes.add(SERVICE_TIME)
        adds = [b"date"] * adds_date + [SERVICE_TIME] * timed + [b"server"] * adds_server
        edited, pick = edited_shape(shape, removes, adds)
        server = (self._server,) if adds_server else ()
        return remember(
            self._known[timed], shape, shape, (edited, pick, adds_date, server), MAX_KNOWN
        )

    def sweep_stream(self, stream: Stream, now: float) -> None:
        """Once a second: `request_timeout`, and `stream_idle_timeout` by whether bytes moved."""
        config = self.config
        every_s = config.log_interval_s
        if every_s and now - (stream.logged_at or stream.started) >= every_s:
            self.log_now(stream, "DownstreamPeriodic")
        waiting = not stream.request_done and not stream.responded
        if waiting and 0 < config.request_timeout_s < now - stream.started:
            self.stats.downstream_rq_timeout.value += 1
            stream.respond(REQUEST_TIMEOUT)
            return
        mark = stream.bytes_received + stream.bytes_sent + stream.responded
        if mark != stream.idle_mark or not stream.idle_since:
            stream.idle_mark = mark
            stream.idle_since = now
            return
        idle_s = config.stream_idle_timeout_s
        if stream.route is not None and stream.route.idle_timeout_s is not None:
            idle_s = stream.route.idle_timeout_s
        if idle_s and now - stream.idle_since > idle_s:
            self.stats.downstream_rq_idle_timeout.value += 1
            stream.respond(STREAM_IDLE)


def _limits(config: HttpConnectionManager, on_dropped: Callable[[int], None]) -> Limits:
    """What HTTP/1 readers may take, and what they do with it."""
    return Limits(
        head_bytes=config.max_request_headers_kb * 1024,
        headers=config.max_headers_count,
        http_10=config.accept_http_10,
        default_host=config.default_host_for_http_10.encode(),
        trailers=config.http1.enable_trailers,
        chunked_length=config.http1.chunked_length,
        keeps_expect=config.proxy_100_continue,
        custom_methods=config.http1.custom_methods,
        underscores=config.underscores,
        on_dropped=on_dropped,
    )
