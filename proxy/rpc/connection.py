"""A connection for gRPC calls: a shell around our HTTP/2 codec.

Made for one call, which ends it; others may ride along (`Call.beside`), as a control plane knows us
by the connection, and a second one would cost both of us a handshake.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

from proxy.http.grpc import RpcError
from proxy.http.h2 import ClientConnection, ConnectionFailed, Options, error_name
from proxy.http.h2.errors import CANCEL
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from proxy.rpc.call import MAX_MESSAGE_BYTES, Call, Metadata
from proxy.tls.failure import TlsFailed

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls

WINDOW_BYTES = 4 * 1024 * 1024
# A call whose messages nobody takes shuts its own window, and leaves the others as much again.
OPTIONS = Options(
    initial_stream_window_size=WINDOW_BYTES, initial_connection_window_size=2 * WINDOW_BYTES
)
# go-control-plane's servers take a ping every 30 s, istiod every 15 s, and end streams else.
PING_EVERY_S = 35.0
PING_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 20.0
CLOSE_NOTIFY_WAIT_S = 1.0


async def open_call(
    address: str,
    path: str,
    *,
    tls: ClientTls | None,
    authority: str,
    metadata: Metadata = (),
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> Call:
    """Connects and begins the call `path`. address: 'host:port' or 'unix:PATH'. Raises RpcError."""
    link = Link("http" if tls is None else "https", authority)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if tls is None:
                await _plain(link, address)
            else:
                from proxy.tls.originate import originate  # not needed without TLS

                await originate(
                    tls.session(), link, lambda: _connected(address), CLOSE_NOTIFY_WAIT_S
                )
    except TimeoutError:
        raise RpcError("UNAVAILABLE", f"{address} did not answer in time") from None
    except TlsFailed as failure:
        raise RpcError("UNAVAILABLE", f"TLS with {address}: {failure.why}") from None
    except OSError as error:
        raise RpcError("UNAVAILABLE", f"{address}: {error.strerror or error}") from None
    if tls is not None:
        link.check_protocol(address)
    return link.start(path, metadata, max_message_bytes)


async def _plain(link: Link, address: str) -> None:
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        await loop.create_unix_connection(lambda: link, address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        await loop.create_connection(lambda: link, host.strip("[]"), int(port))


async def _connected(address: str) -> socket.socket:
    """To the first address of a name that answers. Raises OSError."""
    if address.startswith("unix:"):
        return await _connect(socket.AF_UNIX, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    for family, _, _, _, target in found[:-1]:
        try:
            return await _connect(family, target)
        except OSError:
            pass
    return await _connect(found[-1][0], found[-1][4])


async def _connect(family: int, target: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


class Link(asyncio.Protocol):
    """The connection with its calls. It ends with the first of them."""

    def __init__(self, scheme: str, authority: str) -> None:
        self._scheme = scheme.encode()
        self._authority = authority.encode()
        self._out: list[bytes] = []
        self._codec = ClientConnection(self, OPTIONS, self._out.append)
        self._calls: dict[int, Call] = {}
        self._first: Call | None = None
        self._transport: asyncio.Transport | None = None
        self._error: RpcError | None = None
        self._keepalive: asyncio.TimerHandle | None = None

    def check_protocol(self, address: str) -> None:
        """Does it speak HTTP/2? RpcError says why not."""
        assert self._transport is not None
        if self._transport.get_extra_info("tls").alpn != "h2":
            self._close()
            raise RpcError("UNAVAILABLE", f"TLS with {address}: it does not speak HTTP/2")

    def start(self, path: str, metadata: Metadata, max_message_bytes: int) -> Call:
        """The call that the connection was made for."""
        self._codec.start()
        self._first = self._begin(path, metadata, max_message_bytes)
        loop = asyncio.get_running_loop()
        self._keepalive = loop.call_later(PING_EVERY_S, self._ping)
        return self._first

    # ------------------------------------------------------------------ the calls' side

    def begin(self, path: str, metadata: Metadata, max_message_bytes: int) -> Call:
        if self._error is not None or not self._codec.can_open:
            raise RpcError("UNAVAILABLE", "the connection takes no more calls")
        return self._begin(path, metadata, max_message_bytes)

    def _begin(self, path: str, metadata: Metadata, max_message_bytes: int) -> Call:
        fields = [
            ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "weft"),
            *metadata,
        ]  # fmt: skip
        headers = Headers.of([(name.encode(), value.encode()) for name, value in fields])
        authority, scheme = self._authority, self._scheme
        head = Request(b"POST", path.encode(), authority, headers, CHUNKED, b"HTTP/2", scheme)
        call = Call(self, self._codec.new_stream(), max_message_bytes)
        self._calls[call.stream_id] = call
        if self._error is not None:
            call.over(self._error)
        self._codec.send_head(call.stream_id, head, False)
        self._flush()
        return call

    def write(self, stream_id: int, data: bytes, end: bool) -> None:
        self._codec.send_data(stream_id, data, end)
        self._flush()

    def queued(self, stream_id: int) -> int:
        return self._codec.queued(stream_id)

    def pause(self, stream_id: int) -> None:
        self._codec.pause(stream_id)

    def resume(self, stream_id: int) -> None:
        self._codec.resume(stream_id)
        self._flush()

    def leave(self, call: Call) -> None:
        if call is self._first:
            self._close()
        elif self._calls.pop(call.stream_id, None) is not None:
            self._codec.reset(call.stream_id, CANCEL)  # nothing if it has ended
            self._flush()

    def _close(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
        self._over(RpcError("CANCELLED", "closed by us"))
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    # ------------------------------------------------------------------ the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._codec.feed(data)
        except ConnectionFailed as error:
            self._over(RpcError("INTERNAL", f"HTTP/2: {error}"))
        self._flush()
        for call in self._calls.values():
            call.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        why = f"the connection broke: {exc}" if exc else "the server closed the connection"
        self._over(RpcError("UNAVAILABLE", why))

    # ------------------------------------------------------------------ the codec's side

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        if (call := self._calls.get(stream_id)) is not None:
            call.head(response.status, response.headers)
            call.data(data, end)

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        if (call := self._calls.get(stream_id)) is not None:
            call.data(data, end)

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        if (call := self._calls.get(stream_id)) is not None:
            call.trailers(headers)

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        if (call := self._calls.get(stream_id)) is not None:
            name = error_name(error_code)
            call.over(RpcError("UNAVAILABLE", f"the server reset the call: {name}"))

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        name = error_name(error_code)
        self._over(RpcError("UNAVAILABLE", f"the server is going away: {name}"))

    def on_ping_ack(self, data: bytes) -> None:
        self._rearm(PING_EVERY_S, self._ping)

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """100 and the like mean nothing here."""

    def on_window(self, stream_id: int) -> None:
        """`wake`, behind every read, tells whoever waits for room."""

    def on_settings(self) -> None:
        """Calls are few: whoever begins one asks whether there is room."""

    def count(self, name: str) -> None:
        """Not the data path: nobody counts."""

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # ------------------------------------------------------------------ ends

    def _over(self, error: RpcError) -> None:
        """The first end counts."""
        self._error = self._error or error
        for call in self._calls.values():
            call.over(error)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if data and self._transport is not None:
            self._transport.write(data)

    # ------------------------------------------------------------------ is anybody there

    def _ping(self) -> None:
        if self._transport is None or self._first is None or self._first.ended:
            return
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
