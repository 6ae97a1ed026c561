"""The admin listener: HTTP/1 around `pages.respond`. Off the data path, on the same loop.

It is meant for a loopback address: whoever reaches it may stop the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from time import time
from typing import cast

from proxy.admin.pages import respond
from proxy.admin.reply import Reply
from proxy.admin.view import AdminView
from proxy.config.model import SocketAddress
from proxy.http.date import http_date
from proxy.http.errors import Malformed
from proxy.http.h1 import Limits, RequestReader
from proxy.http.h1.writer import LAST_CHUNK, chunk
from proxy.http.headers import Headers
from proxy.http.message import Request, reason
from proxy.listen.accept import bind

log = logging.getLogger("weft.admin")

_LIMITS = Limits(http_10=True, default_host=b"admin")
_BACKLOG = 64
_CLOSE = "connection: close\r\n"


class AdminServer:
    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        name = server.sockets[0].getsockname()
        if isinstance(name, str):
            self.address = SocketAddress("", path=name)
        else:
            self.address = SocketAddress(*name[:2])

    def close(self) -> None:
        self._server.close()


async def serve_admin(address: SocketAddress, view: AdminView) -> AdminServer:
    """Listens on `address` (port 0: any). OSError says in one line why it can't."""
    try:
        sock = bind(address, _BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise OSError(
            f"cannot listen on {address} (admin): {why}: free it, or change admin.address"
        ) from None
    loop = asyncio.get_running_loop()
    return AdminServer(await loop.create_server(lambda: _Connection(loop, view), sock=sock))


class _Connection(asyncio.Protocol):
    """One request after the other; a slow reader gets its next answer when it has taken this."""

    def __init__(self, loop: asyncio.AbstractEventLoop, view: AdminView) -> None:
        self._loop = loop
        self._view = view
        self._reader = RequestReader(self, _LIMITS)
        self._request: Request | None = None
        self._paused = False
        self._go_on: Callable[[], None] | None = None  # what waits for its turn

    # ----------------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except Malformed as error:
            self._write(Reply(error.detail + "\n", error.status or 400), close=True)
        if self._reader.overfull:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._go_on is not None:
            self._loop.call_soon(self._turn)

    def _later(self, step: Callable[[], None]) -> None:
        """Runs `step` in the next turn in which the peer has taken what was written."""
        self._go_on = step
        if not self._paused:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        step = self._go_on
        if step is not None and not self._paused and not self._transport.is_closing():
            self._go_on = None
            step()

    # ----------------------------------------------------------------------- codec

    def on_request(self, request: Request, data: bytes, end: bool) -> None:
        self._request = request
        if end:
            self.on_end(None)
        elif self._reader.expects_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_data(self, data: bytes) -> None:
        """No page reads a body."""

    def on_end(self, _: Headers | None) -> None:
        request = self._request
        assert request is not None
        reply = self._respond(request)
        head_only = request.method == b"HEAD"
        if isinstance(reply.body, str):
            close = not self._reader.keep_alive
            self._write(reply, close, head_only)
            if not close:
                self._later(self._next)
        else:
            pieces = iter(()) if head_only else reply.body
            self._begin_pieces(reply, pieces, request.version != b"HTTP/1.0", head_only)
        if reply.after is not None:
            reply.after()

    def _next(self) -> None:
        self._transport.resume_reading()
        try:
            self._reader.next_message()
        except Malformed as error:
            self._write(Reply(error.detail + "\n", error.status or 400), close=True)

    # ----------------------------------------------------------------------- answers

    def _respond(self, request: Request) -> Reply:
        origin = request.headers.get(b"origin") or b""
        texts = (request.method, request.path, request.authority, origin)
        try:
            return respond(self._view, *(each.decode("latin-1") for each in texts))
        except Exception:
            log.exception("admin: %s failed", request.path.decode("latin-1"))
            return Reply("internal error, see the log\n", 500)

    def _write(self, reply: Reply, close: bool, head_only: bool = False) -> None:
        assert isinstance(reply.body, str), "pieces are written one by one"
        body = reply.body.encode()
        head = _head(reply, f"content-length: {len(body)}\r\n{_CLOSE if close else ''}")
        self._transport.write(head if head_only else head + body)
        if close:
            self._transport.close()

    def _begin_pieces(
        self, reply: Reply, pieces: Iterator[str], chunked: bool, head_only: bool
    ) -> None:
        """Chunked; to an HTTP/1.0 client as it comes, and the end of the connection ends it."""
        close = not (chunked and self._reader.keep_alive)
        framing = "transfer-encoding: chunked\r\n" if chunked else ""
        self._transport.write(_head(reply, framing + (_CLOSE if close else "")))

        def send() -> None:
            piece = next(pieces, None)
            if piece is not None:
                data = piece.encode()
                self._transport.write(chunk(data) if chunked else data)
                self._later(send)
                return
            if chunked and not head_only:
                self._transport.write(LAST_CHUNK)
            if close:
                self._transport.close()
            else:
                self._later(self._next)

        self._later(send)


def _head(reply: Reply, more: str) -> bytes:
    return (
        f"HTTP/1.1 {reply.status} {reason(reply.status).decode()}\r\n"
        f"content-type: {reply.content_type}\r\n"
        "cache-control: no-cache, max-age=0\r\n"
        "x-content-type-options: nosniff\r\n"
        f"date: {http_date(time())}\r\n"
        f"server: weft\r\n{more}\r\n"
    ).encode()
