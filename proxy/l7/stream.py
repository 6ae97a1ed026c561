"""One request and its reply: the only object that knows both connections.

    walking (steps) -> waiting for the upstream -> replying -> done

It is made when the head of a request is read and walks its route's steps; the last of them, the
router (`attempts`), starts an attempt at a host. The first answer that is kept goes down, from the
upstream or from ourselves, and when it is whole the stream ends and is counted once.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from proxy.filters.api import Answer, Reply, Wait
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.l7 import attempts
from proxy.l7.reply import NO_ROUTE
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool import Connection
from proxy.upstream.retry import RetryRule

if TYPE_CHECKING:
    from proxy.l7.downstream import Downstream
    from proxy.l7.entry import RouteEntry
    from proxy.l7.manager import HttpManager


class Stream:
    """status: of the answer, 0 until there is one. flags: Envoy's response flags, comma-joined.
    detail: why the answer is what it is. started: monotonic seconds. service_ms: what the upstream
    took, None for our own answers. id: the stream's in HTTP/2, else 0.

    Of the upstream half: deadline, try_deadline: monotonic seconds, NEVER when there is none.
    tried: hosts of earlier attempts. body: what was read of the request, None once it need not be
    kept. trailers: the request's, once it is done. failure: the transport's words for the last lost
    attempt. choice: which of the weighted clusters."""

    # No __slots__: most streams never touch most of these, and a default that stands in the class
    # costs a request nothing, while a slot must be filled. All defaults are immutable.
    breaker: Breaker
    id = 0
    up_id = 0
    at = 0
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
    bytes_sent = 0
    idle_mark = 0
    idle_since = 0.0
    cluster: Cluster | None = None
    host: Host | None = None
    up: Connection | None = None
    waiting = False
    attempt = 0
    choice = 0
    rule: RetryRule | None = None
    retries_left = 0
    retry_counted = False
    retrying: asyncio.TimerHandle | None = None
    tried: list[Host] | None = None
    body: list[bytes] | None = None
    body_bytes = 0
    trailers: Headers | None = None
    failure = ""
    timeout_s = 0.0
    per_try_timeout_s = 0.0
    sent_at = 0.0
    deadline = attempts.NEVER
    try_deadline = attempts.NEVER

    def __init__(self, down: Downstream, manager: HttpManager, request: Request) -> None:
        self.down = down
        self.manager = manager
        self.request = request
        self.started = monotonic()

    # The upstream half, called by the connection that it leases (`pool.Exchange`).
    on_connected = attempts.on_connected
    on_informational = attempts.on_informational
    on_response = attempts.on_response
    on_data = attempts.on_data
    on_end = attempts.on_end
    on_reset = attempts.on_reset
    on_writable = attempts.on_writable
    # ... by the client's connection, by the sweep, and by the half below.
    on_downstream_full = attempts.on_downstream_full
    on_deadline = attempts.on_deadline
    pass_request_data = attempts.pass_request_data
    pass_request_end = attempts.pass_request_end
    give_up = attempts.give_up

    # ------------------------------------------------------------------ the request's way

    def begin(self, data: bytes, end: bool) -> None:
        """The head is here, with `data` of the body. end: that was all."""
        self.request_done = end
        if data:
            self.bytes_received = len(data)
            self.body = [data]
        manager, request = self.manager, self.request
        manager.on_stream(self)
        objection = manager.objection(request) if request.odd else None
        objection = objection or manager.prepare(request, self.down.info)
        if objection is not None:
            self.respond(objection)
            return
        self.route = manager.table.find(request)
        if self.route is None:
            self.respond(NO_ROUTE)
            return
        self.advance()

    def advance(self) -> None:
        """Walks the steps from where it stopped; the last one is the router."""
        steps = self.manager.steps
        while (answer := steps[self.at](self)) is None:
            self.at += 1
        if not isinstance(answer, Wait):
            self.respond(answer)

    def resume(self, answer: Answer = None) -> None:
        """Whoever said WAIT goes on, or answers."""
        self.at += 1
        if answer is None:
            self.advance()
        elif isinstance(answer, Reply):
            self.respond(answer)

    def on_request_data(self, data: bytes) -> None:
        self.bytes_received += len(data)
        if self.up is not None or not self.responded:  # an answer may begin before the request ends
            self.pass_request_data(data)

    def on_request_end(self, trailers: Headers | None = None) -> None:
        self.request_done = True
        if self.up is not None or not self.responded:
            self.pass_request_end(trailers)

    # ------------------------------------------------------------------ the answer's way

    def respond(self, reply: Reply) -> None:
        """Answers ourselves. Too late once an answer has begun: then the client is cut off, which
        is the only way to tell it that the rest will not come."""
        if self.responded:
            self.flag(reply.flag, reply.detail)
            self.down.abort(self)
            return
        self.give_up()
        self.flag(reply.flag, reply.detail)
        pairs = [*reply.headers]
        body = b"" if reply.status in (204, 304) else reply.body
        if body:
            pairs.append((b"content-type", b"text/plain"))
        if reply.status not in (204, 304):
            pairs.append((b"content-length", b"%d" % len(body)))
        response = Response(reply.status, Headers.of(pairs), len(body))
        if reply.close:
            self.down.close_after(self)
        if self.request.method == b"HEAD":
            body = b""
        self._send_head(response, body, True)

    def flag(self, flag: str, detail: str) -> None:
        if flag:
            self.flags = f"{self.flags},{flag}" if self.flags else flag
        if detail:
            self.detail = detail

    def deliver(self, response: Response, data: bytes, end: bool) -> None:
        """The upstream's answer, chosen to be the one, with what of its body came along."""
        self.detail = "via_upstream"
        self._send_head(response, data, end)

    def _send_head(self, response: Response, data: bytes, end: bool) -> None:
        self.responded = True
        self.status = response.status
        self.response = response
        route = self.route
        if route is not None and route.edit_response is not None:
            route.edit_response(self, response)
        self.manager.finish_response(self, response)
        self.down.send_response(self, response, data, end)
        self.bytes_sent = len(data)
        if end:
            self.finish()

    def send_data(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.down.send_data(self, data)

    def send_end(self, trailers: Headers | None) -> None:
        self.down.end_response(self, trailers)
        self.finish()

    # ------------------------------------------------------------------ the end

    def finish(self) -> None:
        """The answer is whole, or will never be: count it, once."""
        if self.ended:
            return
        self.ended = monotonic()
        if self.up is not None or self.waiting or self.retrying is not None:
            self.give_up()
        if self.retry_counted:
            self.breaker.retries -= 1
        self.manager.on_stream_end(self)
        self.down.on_stream_end(self)

    def on_downstream_lost(self) -> None:
        """The client went away (Envoy: DC)."""
        if self.ended:
            return
        self.flag("DC", "downstream_remote_disconnect")
        if self.up is not None and self.cluster is not None:
            self.cluster.stats.upstream_rq_cancelled.value += 1
        self.responded = True
        self.finish()
