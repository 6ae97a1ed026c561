"""One request and its reply: the only object that knows both connections.

    walking (steps) -> waiting for the upstream -> replying -> done

It is made when the head of a request is read and walks its route's steps; the last of them, the
router (`attempts`), starts an attempt at a host. The first answer that is kept goes down, from the
upstream or from ourselves, and when it is whole the stream ends and is counted once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy.connection import ConnectionInfo, Secured
from proxy.filters.api import Answer, Reply
from proxy.http.headers import Headers
from proxy.http.message import UNTIL_CLOSE, Request, Response
from proxy.l7 import attempts, deadlines, hedging, hooks, local_reply, mirror, tunnel
from proxy.l7.chain import NO_CHAIN, Chain
from proxy.l7.facts import Address, forwarded_remote
from proxy.l7.resolve import resolve
from proxy.l7.throttle import Throttle
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Carrier
from proxy.upstream.retry import RetryRule

if TYPE_CHECKING:
    from proxy.l7.downstream import Downstream
    from proxy.l7.entry import RouteEntry
    from proxy.l7.extra_stats import RequestStats
    from proxy.l7.hedging import Hedge
    from proxy.l7.manager import HttpManager
    from proxy.l7.mirror import Shadow
    from proxy.l7.tracing import Traced

OF_ONE_LEG = (
    "started", "has_extras",
    "up_id", "chain", "at", "hooking", "resumption", "health_check", "outlet", "_metadata", "ended",
    "request_done", "responded", "response", "status", "flags", "detail", "service_ms",
    "bytes_before", "bytes_sent", "idle_mark", "idle_since", "cluster", "host", "up", "up_full",
    "waiting", "attempt", "shadows", "keeps_body", "new_cookies", "local_body", "counted", "rule",
    "retries_left", "retry_held", "could_not_retry", "back_offs", "may_hedge", "hedges",
    "timeout_told", "timeout_retry", "timeout_status", "tried_lately", "tried_priorities",
    "retrying", "tried", "body", "body_bytes", "tunnels", "holds", "ends_in_tcp", "dialing",
    "buffer_limit_bytes", "response_trailers", "last_up", "answered_at", "log_type", "logged_at",
    "failure", "preferred", "timeout_s", "per_try_timeout_s", "idle_try_s", "idle_until", "sent_at",
    "tried_at", "over_at", "deadline", "try_deadline", "traced",
)  # fmt: skip
"""What begins anew when an internal redirect sends the request on; the rest it keeps."""

ANY_PRIORITY: Final[frozenset[int]] = frozenset()


class Stream:
    """status: of the answer, 0 until there is one. flags: Envoy's response flags, comma-joined.
    detail: why the answer is what it is. started: monotonic seconds. service_ms: what the upstream
    took, None for our own answers. id: the stream's in HTTP/2, else 0. at: the step of the chain.
    tunnels: it is an upgrade or CONNECT. holds: its bytes wait until the upstream has agreed to it.
    has_extras: it has what few streams have, of the route or the client. dialing: the TCP
    connection that is being made for it.
    hooking: inside of a filter's hook, whose word to resume then waits in `resumption`.

    Of the upstream half: deadline, try_deadline: monotonic seconds, NEVER when there is none.
    up_full: it takes no more of the request for now. tried: hosts of earlier attempts. tried_at:
    when one but the first was sent. body: what was read of the request, None once it need not be
    kept. trailers: the request's, once it is done. failure: the transport's words for the last lost
    attempt. shadows: copies on their way while the request is not whole. keeps_body: for another
    leg. redirects, followed: how many legs came before, and by which routes. new_cookies: made for
    the client by a hash policy. local_body: what a local reply said before it was formatted.
    counted: in what else the request counts. preferred: the address of the host that it is bound
    to, and whether no other will do."""

    # Few __slots__: most streams never touch most of these, and a default that stands in the class
    # costs a request nothing, while a slot must be filled. All defaults are immutable. But what
    # every stream sets has one: with 30 names in its dictionary or more, each costs three times as
    # much (CPython shares the keys of fewer).
    __slots__ = (
        "__dict__", "breaker", "dialing", "down", "has_extras", "last_up", "manager", "request",
        "started", "up",
    )  # fmt: skip
    down: Downstream
    manager: HttpManager
    request: Request
    breaker: Breaker
    up: Carrier | None  # these three have no default: mypyc forgets a None that is a Protocol's
    last_up: Carrier | None
    dialing: Carrier | None
    id = 0
    up_id = 0
    chain: Chain = NO_CHAIN
    at = 0
    hooking = False
    resumption: tuple[Answer, ...] = ()
    health_check = False
    outlet: Throttle | None = None
    _metadata: dict[str, dict[str, Any]] | None = None
    _filter_state: dict[str, Any] | None = None
    route: RouteEntry | None = None
    ended = 0.0
    request_done = False
    responded = False
    response: Response | None = None
    status = 0
    flags = ""
    detail = ""
    service_ms: int | None = None
    bytes_received = 0
    bytes_before = 0
    bytes_sent = 0
    idle_mark = 0
    idle_since = 0.0
    cluster: Cluster | None = None
    host: Host | None = None
    up_full = False
    waiting = False
    attempt = 0
    shadows: tuple[Shadow, ...] = ()
    keeps_body = False
    redirects = 0
    followed: tuple[tuple[str, str], ...] = ()
    new_cookies: tuple[bytes, ...] = ()
    local_body: bytes = b""
    counted: tuple[RequestStats, ...] = ()
    rule: RetryRule | None = None
    retries_left = 0
    retry_held = False
    could_not_retry = False
    back_offs = 0
    may_hedge = False
    hedges: tuple[Hedge, ...] = ()
    timeout_told = False
    timeout_retry = False
    timeout_status = 504
    tried_lately: tuple[int, ...] = ()
    tried_priorities: frozenset[int] = ANY_PRIORITY
    retrying: asyncio.TimerHandle | None = None
    tried: list[Host] | None = None
    body: list[bytes] | None = None
    body_bytes = 0
    tunnels = False
    holds = False
    ends_in_tcp = False
    has_extras: bool
    buffer_limit_bytes = 0
    trailers: Headers | None = None
    response_trailers: Headers | None = None
    answered_at = 0.0
    log_type = "DownstreamEnd"
    logged_at = 0.0
    failure = ""
    preferred: tuple[str, bool] | None = None
    traced: Traced | None = None
    timeout_s = 0.0
    per_try_timeout_s = 0.0
    idle_try_s = 0.0
    idle_until = attempts.NEVER
    sent_at = 0.0
    tried_at = 0.0
    over_at = attempts.NEVER
    deadline = attempts.NEVER
    try_deadline = attempts.NEVER

    def __init__(self, down: Downstream, manager: HttpManager, request: Request) -> None:
        self.down = down
        self.manager = manager
        self.request = request
        self.started = monotonic()
        self.up = self.last_up = self.dialing = None
        self.has_extras = False  # asked more often than a default of the class is worth

    @property
    def info(self) -> ConnectionInfo:
        return self.down.info

    @property
    def remote(self) -> Address:
        return forwarded_remote(self)

    @property
    def upstream_tls(self) -> Secured | None:
        """Of the connection to the host, last."""
        return None if self.last_up is None else self.last_up.secured

    @property
    def body_received(self) -> int:
        """Bytes of the request's body so far, those of earlier legs left out."""
        return self.bytes_received - self.bytes_before

    def prefer_host(self, address: str, strict: bool) -> None:
        self.preferred = (address, strict)
        self.has_extras = True

    def throttle(self, bytes_per_s: int) -> None:
        self.outlet = Throttle(self, bytes_per_s)

    @property
    def reached_router(self) -> bool:
        return 0 < len(self.chain.steps) == self.at + 1

    @property
    def metadata(self) -> dict[str, dict[str, Any]]:
        """Dynamic metadata, by namespace."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    def set_cookie(self, cookie: bytes) -> None:
        """For the client, with the upstream's answer."""
        if cookie not in self.new_cookies:
            self.new_cookies = (*self.new_cookies, cookie)

    @property
    def filter_state(self) -> dict[str, Any]:
        if self._filter_state is None:
            self._filter_state = {}
        return self._filter_state

    # The upstream half, called by the connection that it leases (`pool.Exchange`).
    def on_connected(self, connection: Carrier) -> None:
        attempts.on_connected(self, connection)

    def on_informational(self, status: int, headers: Headers) -> None:
        attempts.on_informational(self, status, headers)

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        attempts.on_response(self, response, data, end)

    def on_data(self, data: bytes) -> None:
        attempts.on_data(self, data)

    def on_end(self, trailers: Headers | None) -> None:
        attempts.on_end(self, trailers)

    def on_reset(self, reason: str, detail: str = "") -> None:
        attempts.on_reset(self, reason, detail)

    def on_writable(self, writable: bool) -> None:
        attempts.on_writable(self, writable)

    # ... by the client's connection, by the sweep, and by the half below.

    def on_downstream_full(self, full: bool) -> None:
        attempts.on_downstream_full(self, full)

    def on_deadline(self, now: float) -> None:
        deadlines.on_deadline(self, now)

    def attempt_again(self) -> None:
        attempts.attempt_again(self)

    def abandon(self) -> None:
        attempts.abandon(self)

    def hand_to_hedge(self) -> None:
        hedging.hand_over(self)

    def pass_request_data(self, data: bytes) -> None:
        attempts.pass_request_data(self, data)

    def pass_request_end(self, trailers: Headers | None) -> None:
        attempts.pass_request_end(self, trailers)

    def give_up(self) -> None:
        attempts.give_up(self)

    # ------------------------------------------------------------------ the request's way

    def begin(self, data: bytes, end: bool) -> None:
        """The head is here, with `data` of the body. end: that was all."""
        self.request_done = end
        if data:
            self.bytes_received = self.body_bytes = len(data)
            self.body = [data]
        manager, request = self.manager, self.request
        manager.on_stream(self)
        objection = manager.objection(request) if request.odd else None
        objection = objection or manager.prepare(request, self.down.info)
        if objection is not None:
            self.respond(objection)
            return
        route = self.route = resolve(self)
        if route is not None and route.begins_plain and not manager.max_stream_duration_s:
            self.chain = manager.chain
        else:
            if route is None:
                self.chain = manager.lost_chain or manager.chain
            else:
                self.chain = manager.chain_of(route)
            if route is None or route.limits_duration or manager.max_stream_duration_s:
                deadlines.begin_stream(self)
        if manager.logs_new_requests:
            manager.log_now(self, "DownstreamStart")
        if request.length == UNTIL_CLOSE:
            refusal = tunnel.admit(self)
            if refusal is not None:
                self.respond(refusal)
                return
        self.advance()

    def begin_again(self, body: list[bytes] | None) -> None:
        """Another leg, by the route that was found for it: nothing of the first one is left but
        the request, whose body is `body`."""
        fresh = Stream(self.down, self.manager, self.request)
        for name in OF_ONE_LEG:
            setattr(self, name, getattr(fresh, name))
        self.redirects += 1
        self.request_done = True
        self.body = body
        self.body_bytes = sum(map(len, body or ()))
        self.bytes_before = self.bytes_received
        self.bytes_received += self.body_bytes
        route = self.route
        self.chain = self.manager.chain if route is None else self.manager.chain_of(route)
        deadlines.begin_stream(self)
        self.manager.worker.call_later(0.0, self._next_leg)

    def _next_leg(self) -> None:
        if not self.ended:
            self.advance()

    def advance(self) -> None:
        """Walks the steps from where it stopped; the last one is the router."""
        while True:
            answer = self.chain.steps[self.at](self)
            if self.chain.looks_at_requests:
                answer = hooks.behind_step(self, answer)
            if answer is not None:
                break
            self.at += 1
        if isinstance(answer, Reply):
            self.respond(answer)
        elif self.cluster is None and not self.responded:  # a filter waits, not the router
            attempts.await_filter(self)

    def resume(self, answer: Answer = None) -> None:
        """Whoever said WAIT goes on, or answers; from within a hook as soon as that is through."""
        if self.ended or self.responded:
            return
        if self.hooking:
            self.resumption = (answer,)
        elif isinstance(answer, Reply):
            self.respond(answer)
        else:
            self.at += 1
            self.advance()

    def reroute(self) -> None:
        """The request has changed: another route may be its own now, with other filters behind the
        one that asks."""
        place = self.chain.places[self.at]
        route = self.route = resolve(self)
        chain = self.chain = self.manager.chain if route is None else self.manager.chain_of(route)
        self.at = bisect_right(chain.places, place) - 1

    def restart(self) -> None:
        """Its route may be there now; else the request goes on without one."""
        if self.ended or self.responded:
            return
        route = self.route = resolve(self)
        self.chain = self.manager.chain if route is None else self.manager.chain_of(route)
        self.at = 0
        deadlines.begin_stream(self)
        refusal = tunnel.admit(self) if self.request.length == UNTIL_CLOSE else None
        if refusal is not None:
            self.respond(refusal)
        else:
            self.advance()

    def on_request_data(self, data: bytes) -> None:
        self.bytes_received += len(data)
        if self.up is None and self.responded:  # an answer may begin before the request ends
            return
        if self.chain.looks_at_requests:
            data = hooks.request_data(self, data, False)
        if data:
            self.pass_request_data(data)
        if self.resumption:
            hooks.resume_if_asked(self)

    def on_request_end(self, trailers: Headers | None = None) -> None:
        self.request_done = True
        if self.up is None and self.responded:
            return
        if self.chain.looks_at_requests:
            data = hooks.request_data(self, b"", True)
            if data:
                self.pass_request_data(data)
            hooks.request_end(self, trailers)
        self.pass_request_end(trailers)
        if self.resumption:
            hooks.resume_if_asked(self)

    # ------------------------------------------------------------------ the answer's way

    def respond(self, reply: Reply) -> None:
        """Answers ourselves. Too late once an answer has begun: then the client is cut off, which
        is the only way to tell it that the rest will not come."""
        if self.responded:
            self.flag(reply.flag, reply.detail)
            self.down.abort(self)
            return
        response, body = self._own_answer(reply)
        self._send_head(response, body, True)

    def _own_answer(self, reply: Reply) -> tuple[Response, bytes]:
        """`reply` as an answer with its body; nothing else is waited for any more."""
        self.give_up()
        self.flag(reply.flag, reply.detail)
        if reply.close:
            self.down.close_after(self)
        response, body = local_reply.answer(self, reply)
        return response, b"" if self.request.method == b"HEAD" else body

    def flag(self, flag: str, detail: str) -> None:
        if flag:
            self.flags = f"{self.flags},{flag}" if self.flags else flag
        if detail:
            self.detail = detail

    def deliver(
        self, response: Response, data: bytes, end: bool, detail: str = "via_upstream"
    ) -> None:
        """The upstream's answer, chosen to be the one, with what of its body came along."""
        self.detail = detail
        self.status = response.status
        self.response = response
        route = self.route
        if route is not None and route.edit_response is not None:
            route.edit_response(self, response)
        self._send_head(response, data, end)

    def _send_head(self, response: Response, data: bytes, end: bool) -> None:
        self.responded = True
        self.status = response.status
        self.response = response
        chain = self.chain
        if chain.replies:
            reply = hooks.response(self, response)
            if reply is not None:
                response, data = self._own_answer(reply)
                self.response, end = response, True
            self.status = response.status
        self.manager.finish_response(self, response)
        if chain.looks_at_replies:
            data = hooks.response_data(self, data, end) if data else data
            if end:
                hooks.response_end(self, None)
        if self.outlet is not None and data:
            self.outlet.begin(response, data, end)
            return
        self.down.send_response(self, response, data, end)
        self.bytes_sent = len(data)
        if end:
            self.finish()

    def send_data(self, data: bytes) -> None:
        if self.chain.looks_at_replies:
            data = hooks.response_data(self, data, False)
            if not data:
                return
        if self.outlet is not None:
            self.outlet.send(data)
            return
        self.bytes_sent += len(data)
        self.down.send_data(self, data)

    def send_end(self, trailers: Headers | None) -> None:
        if trailers is not None:
            self.response_trailers = trailers
        if self.chain.looks_at_replies:
            data = hooks.response_data(self, b"", True)
            if data and self.outlet is not None:
                self.outlet.send(data)
            elif data:
                self.bytes_sent += len(data)
                self.down.send_data(self, data)
            hooks.response_end(self, trailers)
        if self.outlet is not None and self.outlet.end(trailers):
            return
        self.down.end_response(self, trailers)
        self.finish()

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """The answer is whole, or will never be: count it, once."""
        if self.ended:
            return
        self.ended = monotonic()
        if self.up is not None or self.waiting:
            self.give_up()
        if self.has_extras:
            self._drop_extras()
        for at_end in self.chain.at_end:
            at_end(self)
        self.manager.on_stream_end(self)
        self.down.on_stream_end(self)

    def _drop_extras(self) -> None:
        if self.shadows:
            mirror.cancel(self)
        if self.retrying is not None or self.hedges:
            self.give_up()
        if self.retry_held:
            self.breaker.retries -= 1

    def on_downstream_lost(
        self, flag: str = "DC", detail: str = "downstream_remote_disconnect"
    ) -> None:
        """The client went away, or gave up this stream."""
        if self.ended:
            return
        self.flag(flag, detail)
        self.responded = True
        self.finish()
