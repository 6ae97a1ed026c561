"""One gRPC call on a connection of its own: a shell around our HTTP/2 codec.

    connecting -> open (messages both ways) -> ended (OK, or an RpcError that says why)

The window stays shut while messages wait to be taken, so a server can't fill our memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from proxy.http.grpc import MessageReader, RpcError, framed, status
from proxy.http.h2 import ClientConnection, ConnectionFailed, Options, error_name
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from proxy.tls.failure import TlsFailed

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls

WINDOW_BYTES = 4 * 1024 * 1024
OPTIONS = Options(
    initial_stream_window_size=WINDOW_BYTES, initial_connection_window_size=WINDOW_BYTES
)
MAX_WAITING_BYTES = 4 * 1024 * 1024
# go-control-plane's servers take a ping every 30 s, istiod every 15 s, and end streams else.
PING_EVERY_S = 35.0
PING_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 20.0
FINISH_TIMEOUT_S = 0.3
CLOSE_NOTIFY_WAIT_S = 1.0

Metadata = Sequence[tuple[str, str]]


async def open_call(
    address: str,
    path: str,
    *,
    tls: ClientTls | None,
    authority: str,
    metadata: Metadata = (),
    max_message_bytes: int = 4 * 1024 * 1024,
) -> Call:
    """Connects and begins the call `path`. address: 'host:port' or 'unix:PATH'. Raises RpcError."""
    loop = asyncio.get_running_loop()
    call = Call(max_message_bytes)

    async def connect(lowest: asyncio.Protocol) -> None:
        if address.startswith("unix:"):
            await loop.create_unix_connection(lambda: lowest, address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            await loop.create_connection(lambda: lowest, host.strip("[]"), int(port))

    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if tls is None:
                await connect(call)
            else:
                from proxy.tls.originate import originate  # not needed without TLS

                await originate(tls.session(), call, connect, CLOSE_NOTIFY_WAIT_S)
    except TimeoutError:
        raise RpcError("UNAVAILABLE", f"{address} did not answer in time") from None
    except TlsFailed as failure:
        raise RpcError("UNAVAILABLE", f"TLS with {address}: {failure.why}") from None
    except OSError as error:
        raise RpcError("UNAVAILABLE", f"{address}: {error.strerror or error}") from None
    if tls is not None:
        call.check_protocol(address)
    call.begin(path, "http" if tls is None else "https", authority, metadata)
    return call


class Call(asyncio.Protocol):
    """send and receive raise RpcError once the call has ended badly."""

    def __init__(self, max_message_bytes: int) -> None:
        self._out: list[bytes] = []
        self._codec = ClientConnection(self, OPTIONS, self._out.append)
        self._reader = MessageReader(max_message_bytes)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._answer: list[tuple[str, str]] = []
        self._stream = self._codec.new_stream()
        self._ended = False
        self._error: RpcError | None = None
        self._keepalive: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ the caller's side

    def check_protocol(self, address: str) -> None:
        """Does it speak HTTP/2? RpcError says why not."""
        assert self._transport is not None
        if self._transport.get_extra_info("tls").alpn != "h2":
            self.close()
            raise RpcError("UNAVAILABLE", f"TLS with {address}: it does not speak HTTP/2")

    def begin(self, path: str, scheme: str, authority: str, metadata: Metadata) -> None:
        fields = [
            ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "weft"),
            *metadata,
        ]  # fmt: skip
        headers = Headers.of([(name.encode(), value.encode()) for name, value in fields])
        head = Request(
            b"POST", path.encode(), authority.encode(), headers, CHUNKED, b"HTTP/2", scheme.encode()
        )
        self._codec.start()
        self._codec.send_head(self._stream, head, False)
        self._flush()
        loop = asyncio.get_running_loop()
        self._keepalive = loop.call_later(PING_EVERY_S, self._ping)

    async def send(self, message: bytes, end: bool = False) -> None:
        """Returns when the message is handed on; waits for the server's window."""
        self._raise_if_over()
        self._codec.send_data(self._stream, framed(message), end)
        self._flush()
        while self._codec.queued(self._stream):
            await self._change()
            self._raise_if_over()

    async def receive(self) -> bytes | None:
        """The next message; None when the server has ended the call with OK."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            await self._change()
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        if self._waiting_bytes < MAX_WAITING_BYTES:
            self._codec.resume(self._stream)
            self._flush()
        return message

    async def finish(self) -> None:
        """Says that nothing more comes from us, and waits a moment for the server to agree: one
        that sees the connection go first takes us for lost."""
        try:
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await self._end()
        except (RpcError, TimeoutError):
            pass  # then it is as it is

    async def _end(self) -> None:
        self._raise_if_over()
        self._codec.send_data(self._stream, b"", True)
        self._flush()
        while await self.receive() is not None:
            pass

    def close(self) -> None:
        """Ends the call and its connection, whatever its state."""
        if self._keepalive is not None:
            self._keepalive.cancel()
        self._over(RpcError("CANCELLED", "closed by us"))
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise RpcError("UNAVAILABLE", "the server has ended the call")

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._codec.feed(data)
        except ConnectionFailed as error:
            self._over(RpcError("INTERNAL", f"HTTP/2: {error}"))
        self._flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        why = f"the connection broke: {exc}" if exc else "the server closed the connection"
        self._over(RpcError("UNAVAILABLE", why))

    # ------------------------------------------------------------------ the codec's side

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        self._answer.append((":status", str(response.status)))
        self._note(response.headers)
        self.on_data(stream_id, data, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        try:
            for message in self._reader.feed(data):
                self._waiting.append(message)
                self._waiting_bytes += len(message)
        except RpcError as error:
            self._over(error)
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self._codec.pause(self._stream)
        if end:
            self._over(status(self._answer))

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        self._note(headers)
        self._over(status(self._answer))

    def _note(self, headers: Headers) -> None:
        for name, value in headers:
            self._answer.append((name.decode(), value.decode("utf-8", "replace")))

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        name = error_name(error_code)
        self._over(RpcError("UNAVAILABLE", f"the server reset the call: {name}"))

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        name = error_name(error_code)
        self._over(RpcError("UNAVAILABLE", f"the server is going away: {name}"))

    def on_ping_ack(self, data: bytes) -> None:
        self._rearm(PING_EVERY_S, self._ping)

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """100 and the like mean nothing here."""

    def on_window(self, stream_id: int) -> None:
        """`_changed`, set behind every read, wakes whoever waits for room."""

    def on_settings(self) -> None:
        """There is only one stream."""

    def count(self, name: str) -> None:
        """Not the data path: nobody counts."""

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # ------------------------------------------------------------------ ends

    def _over(self, error: RpcError | None) -> None:
        """The first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._changed.set()

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if data and self._transport is not None:
            self._transport.write(data)

    # ------------------------------------------------------------------ is anybody there

    def _ping(self) -> None:
        if not self._ended and self._transport is not None:
            self._codec.ping(b"weftweft")
            self._flush()
            self._rearm(PING_TIMEOUT_S, self._unanswered)

    def _unanswered(self) -> None:
        self._over(RpcError("UNAVAILABLE", "the server does not answer pings"))
        if self._transport is not None:
            self._transport.abort()

    def _rearm(self, after_s: float, action: object) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
        loop = asyncio.get_running_loop()
        self._keepalive = loop.call_later(after_s, action)  # type: ignore[arg-type]
