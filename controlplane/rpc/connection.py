"""One client's connection: a shell around the HTTP/2 codec, and the calls that are open on it.

    open -> leaving (GOAWAY was said; calls go on) -> closed

What is said in one turn of the loop is one write. Knows no socket: TLS is over when it begins, or
there is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol, cast

from controlplane.rpc import asked
from controlplane.rpc.backlog import Backlog
from controlplane.rpc.call import Call
from controlplane.rpc.codes import DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE
from controlplane.rpc.guests import Guests
from controlplane.rpc.halves import Halves
from controlplane.rpc.heads import Metadata
from controlplane.rpc.lifetime import ASK, DEAD, UNREAD, UNUSED, Lifetime
from controlplane.rpc.limits import Limits, Room
from controlplane.rpc.methods import Methods
from controlplane.rpc.peer import Peer, source_of
from controlplane.rpc.pings import TOO_MANY, Pings
from controlplane.rpc.turns import Client, Turns
from controlplane.rpc.unread import Unread
from proxy.http.h2.errors import ENHANCE_YOUR_CALM, NO_ERROR, ConnectionFailed
from proxy.http.h2.frames import HEADERS, PING
from proxy.http.h2.options import PrematureResets
from proxy.http.h2.server import ServerConnection
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

log = logging.getLogger("weft.controlplane.rpc")

PROBE = b"weft\0\0\0\0"
_KIND_AT = 3  # of a frame's head (RFC 9113 section 4.1)


class Transport(Protocol):
    """What is needed of asyncio's, and of proxy.tls's."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int: ...


class Host(Protocol):
    """What a connection needs of the server."""

    @property
    def limits(self) -> Limits: ...

    @property
    def methods(self) -> Methods: ...

    @property
    def guests(self) -> Guests: ...

    @property
    def turns(self) -> Turns: ...

    def handle(self, call: Call) -> None:
        """Begins to; `call.task` is set."""

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """room: of its port. calls: by their streams. stuck: the client's socket takes no more for now.
    leaving: no call is begun any more. proven: it is known whose it is."""

    __slots__ = (
        "_backlog", "_codec", "_draining", "_halves", "_host", "_life", "_limits", "_loop", "_peer",
        "_pieces", "_pings", "_reading", "_resets", "_transport", "calls", "leaving", "proven",
        "room", "stuck",
    )  # fmt: skip

    def __init__(self, host: Host, room: Room, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        limits = host.limits
        self.room = room
        self.calls: dict[int, Call] = {}
        self.stuck = False
        self.leaving = False
        self.proven = peer.proven
        self._backlog = Backlog(host.turns.client(_name(host, peer), self), self)
        self._halves = Halves(limits, room)
        self._life = Lifetime(limits, loop.time())
        self._draining: dict[int, Call] = {}  # over, but what was said has yet to be read
        self._host = host
        self._peer = peer
        self._loop = loop
        self._limits = limits
        self._codec = ServerConnection(self, limits.http2(), self._say)
        self._transport: Transport | None = None
        self._pieces: list[bytes] = []
        self._reading = False  # the end of the read writes what is said meanwhile
        self._pings = Pings(limits.min_ping_interval_s, limits.max_ping_strikes)
        self._resets = PrematureResets()

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.high_bytes)
        self._codec.start()

    def data_received(self, data: bytes) -> None:
        self._life.heard = True
        self._reading = True
        try:
            self._codec.feed(data)
        except ConnectionFailed as failure:
            log.info("connection ended peer=%s: HTTP/2: %s", self._peer.name, failure)
            self._lose_calls()
            self._flush()
            if self._transport is not None:
                self._transport.close()
        finally:
            self._reading = False
            self._flush()
        if self.leaving and not self.calls:
            self._close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pieces.clear()
        self._lose_calls()
        for call in self._draining.values():
            call.drain()
        self._draining.clear()
        self._backlog.leave()
        self._host.closed(self)

    def _lose_calls(self) -> None:
        for call in list(self.calls.values()):
            call.lost()

    def pause_writing(self) -> None:
        self.stuck = True

    def resume_writing(self) -> None:
        self.stuck = False
        self._backlog.drains()
        self.recount_said()
        for call in list(self.calls.values()):
            call.has_room()

    def _say(self, data: bytes) -> None:
        """Frames, of which the first one says what they are about."""
        if not self._pieces and not self._reading:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)
        kind = data[_KIND_AT]
        if kind <= HEADERS:
            self._pings.forgive()
        elif kind == PING and self._reading and self._pings.too_many(self._loop.time()):
            self._codec.goaway(ENHANCE_YOUR_CALM, TOO_MANY)
            raise ConnectionFailed(ENHANCE_YOUR_CALM, "the client pings too often")

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces and self._transport is not None:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._transport.write(data)

    # ------------------------------------------------------------------ the codec's side

    def on_request(self, stream_id: int, request: Request, data: bytes, end: bool) -> None:
        self._life.used = True
        found = asked.read(request, self._host.methods)
        if isinstance(found, Response):
            self._refuse(stream_id, found, end)
            return
        call = Call(self, self._codec, stream_id, found.head, found.method, self._limits)
        self.calls[stream_id] = call
        timeout_s = found.head.timeout_s
        if timeout_s is not None:
            call.deadline = self._loop.call_later(timeout_s, _expire, call)
        if found.method.request_streaming:
            self._host.handle(call)
        if data or end:
            self.on_data(stream_id, data, end)

    def _refuse(self, stream_id: int, answer: Response, end: bool) -> None:
        self._codec.send_head(stream_id, answer, True)
        if not end:
            self._codec.reset_behind(stream_id, NO_ERROR)  # RFC 9113 section 8.1

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        call = self.calls.get(stream_id)
        if call is None:
            return
        call.data(data, end)
        self.recount_heard(call)
        if call.task is None and not call.over and not call.unasked:
            self._host.handle(call)

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        call = self.calls.get(stream_id)
        if call is not None:
            call.end()
            if call.task is None:
                self._host.handle(call)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        call = self.calls.get(stream_id)
        if call is not None:
            call.lost()

    def on_window(self, stream_id: int) -> None:
        if self._backlog.bytes:
            self.recount_said()
        call = self.calls.get(stream_id)
        if call is not None:
            call.has_room()

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        """The client begins no more calls; those that it has go on."""

    def on_settings(self) -> None:
        """Windows are the codec's business."""

    def on_ping_ack(self, data: bytes) -> None:
        """That something was heard is noted already."""

    def count(self, name: str) -> None:
        """Statistics of a data path."""

    def unsent(self) -> int:
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return waiting + len(self._pieces)

    # ------------------------------------------------------------------ the calls' side

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def client(self) -> Client:
        return self._backlog.client

    @property
    def held_up(self) -> bool:
        return self._backlog.held_up

    def recount_heard(self, call: Call) -> None:
        partial = 0 if call.over else call.partial_bytes
        if partial != call.counted:
            more, call.counted = partial - call.counted, partial
            if self._halves.too_many(more):
                call.finish(RESOURCE_EXHAUSTED, "too many messages are under way: try again")

    def recount_said(self) -> None:
        waiting = self._codec.waiting_bytes if self._codec.sending else 0
        if self._transport is not None:
            waiting += self._transport.get_write_buffer_size()
        self._backlog.count(waiting)

    def knows(self, metadata: Metadata) -> bool:
        return self._host.guests.knows(metadata)

    def prove(self, principal: str) -> None:
        if not self.proven:
            self.proven = True
            self.room.strangers.pop(self, None)
            self._backlog.hand_over(principal)

    def waiters(self) -> Iterable[Call]:
        return self.calls.values()

    def peer(self) -> str:
        return self._peer.name

    def facts(self) -> dict[str, list[bytes]]:
        return self._peer.facts()

    def leave(self, call: Call) -> None:
        """The call is over; what the client still says of it is not heard."""
        del self.calls[call.id]
        self._halves.too_many(-call.counted)
        call.counted = 0
        if not call.heard_all and not call.cancelled:
            self._codec.reset_behind(call.id, NO_ERROR)  # RFC 9113 section 8.1
        if self._codec.queued(call.id):
            self._draining[call.id] = call
        else:
            call.drain()
        self._resets.ended += 1
        if (
            not call.answered
            and self._transport is not None
            and self._resets.note(self._loop.time() - call.began_at)
        ):
            log.warning("connection ended peer=%s: it only resets its calls", self._peer.name)
            self.abort()
        if not self.calls:
            self._life.idle(self._loop.time())
            if self.leaving:
                self._close()

    # ------------------------------------------------------------------ its own life

    def leave_off(self) -> None:
        """No more calls; closes when the last one is over."""
        if not self.leaving:
            self.leaving = True
            self._codec.goaway()
        if not self.calls:
            self._close()

    def cancel_calls(self) -> None:
        for call in list(self.calls.values()):
            call.finish(UNAVAILABLE, "the server is stopping")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def give_way(self) -> None:
        log.info("connection ended peer=%s: it has proven nothing, and others come", self.peer())
        self.abort()

    def _close(self) -> None:
        self._flush()
        if self._transport is not None and not self._codec.sending:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Every few seconds: does the client live, does it read, and is there anything to wait
        for?"""
        self._end_unread(now)
        self._end_unasked(now)
        verdict = self._life.verdict(now, bool(self.calls), self.leaving)
        if verdict == DEAD:
            log.info("connection ended peer=%s: it does not answer pings", self._peer.name)
            self.abort()
        elif verdict == ASK:
            self._codec.ping(PROBE)
        elif verdict == UNREAD:
            self.abort()
        elif verdict == UNUSED:
            self.leave_off()

    def _end_unread(self, now: float) -> None:
        """Whose client reads nothing."""
        for stream_id, call in (*self._draining.items(), *self.calls.items()):
            self._end_stuck(stream_id, call, now)
        if self._backlog.bytes or self.stuck:
            self.recount_said()
        if self.stuck and self._backlog.stuck_for_s(now) >= self._limits.unread_s:
            log.warning("connection ended peer=%s: it reads nothing", self.peer())
            self.abort()

    def _end_stuck(self, stream_id: int, call: Call, now: float) -> None:
        queued = self._codec.queued(stream_id)
        if not queued:
            call.unread = None
            self._drained(call)
        elif call.unread is None:
            call.unread = Unread(queued, now)
        elif call.unread.for_s(queued, now) >= self._limits.unread_s:
            log.warning("stream ended peer=%s path=%s: nobody reads it", self.peer(), call.path)
            self._codec.reset(stream_id, ENHANCE_YOUR_CALM)
            call.lost()
            self._drained(call)

    def _drained(self, call: Call) -> None:
        if call.over:
            self._draining.pop(call.id, None)
            call.drain()

    def _end_unasked(self, now: float) -> None:
        request_s = self._limits.request_s
        for call in list(self.calls.values()):
            if call.task is None and now - call.began_at >= request_s:
                call.finish(DEADLINE_EXCEEDED, f"no request within {request_s:.0f} s")


def _name(host: Host, peer: Peer) -> str:
    """Of the client: who it has proven to be, else from where it comes."""
    principal = host.guests.principal(peer.facts()) if peer.proven else ""
    return principal or source_of(peer.name)


def _expire(call: Call) -> None:
    call.finish(DEADLINE_EXCEEDED, "the deadline is over")
