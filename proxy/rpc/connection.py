"""One gRPC call on a connection of its own: a shell around the `h2` library.

    connecting -> open (messages both ways) -> ended (OK, or an RpcError that says why)

Reading stops while messages wait to be taken, so a server can't fill our memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from proxy.rpc.messages import MessageReader, RpcError, framed, status
from proxy.tls.contexts import ClientTls

WINDOW_BYTES = 4 * 1024 * 1024
MAX_WAITING_BYTES = 4 * 1024 * 1024
# go-control-plane's servers take a ping every 30 s, istiod every 15 s, and end streams else.
PING_EVERY_S = 35.0
PING_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 20.0

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
    context = tls.ssl_context if tls is not None else None
    name = tls.server_hostname if tls is not None else None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if address.startswith("unix:"):
                await loop.create_unix_connection(
                    lambda: call, address.removeprefix("unix:"), ssl=context, server_hostname=name
                )
            else:
                host, _, port = address.rpartition(":")
                await loop.create_connection(
                    lambda: call, host.strip("[]"), int(port), ssl=context, server_hostname=name
                )
    except TimeoutError:
        raise RpcError("UNAVAILABLE", f"{address} did not answer in time") from None
    except ssl.SSLError as error:
        why = error.reason or str(error)
        raise RpcError("UNAVAILABLE", f"TLS with {address}: {why}") from None
    except OSError as error:
        raise RpcError("UNAVAILABLE", f"{address}: {error.strerror or error}") from None
    call.check_peer(tls, address)
    call.begin(path, "http" if tls is None else "https", authority, metadata)
    return call


class Call(asyncio.Protocol):
    """send and receive raise RpcError once the call has ended badly."""

    def __init__(self, max_message_bytes: int) -> None:
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._reader = MessageReader(max_message_bytes)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._answer: list[tuple[str, str]] = []
        self._stream = 0
        self._ended = False
        self._error: RpcError | None = None
        self._keepalive: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ the caller's side

    def check_peer(self, tls: ClientTls | None, address: str) -> None:
        """Is it whom we wanted, and does it speak HTTP/2? RpcError says why not."""
        assert self._transport is not None
        if tls is None:
            return
        session = self._transport.get_extra_info("ssl_object")
        why = tls.verify(session)
        if why is None and session.selected_alpn_protocol() != "h2":
            why = "it does not speak HTTP/2"
        if why is not None:
            self.close()
            raise RpcError("UNAVAILABLE", f"TLS with {address}: {why}")

    def begin(self, path: str, scheme: str, authority: str, metadata: Metadata) -> None:
        self._h2.initiate_connection()
        self._h2.update_settings(
            {SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES, SettingCodes.ENABLE_PUSH: 0}
        )
        self._h2.increment_flow_control_window(WINDOW_BYTES)
        self._stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority),
            ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "weft"),
            *metadata,
        ]  # fmt: skip
        self._h2.send_headers(self._stream, headers)
        self._flush()
        loop = asyncio.get_running_loop()
        self._keepalive = loop.call_later(PING_EVERY_S, self._ping)

    async def send(self, message: bytes, end: bool = False) -> None:
        """Returns when the message is handed on; waits for the server's window."""
        data = memoryview(framed(message))
        while True:
            self._raise_if_over()
            room = min(
                self._h2.local_flow_control_window(self._stream),
                self._h2.max_outbound_frame_size,
            )
            if room <= 0:
                if self._transport is not None:
                    self._transport.resume_reading()  # the window's update must get through
                await self._change()
                continue
            piece, data = data[:room], data[room:]
            self._h2.send_data(self._stream, bytes(piece), end_stream=end and not data)
            self._flush()
            if not data:
                return

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
        if self._transport is not None and self._waiting_bytes < MAX_WAITING_BYTES:
            self._transport.resume_reading()
        return message

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
            for event in self._h2.receive_data(data):
                self._on_event(event)
        except H2Error as error:
            self._over(RpcError("INTERNAL", f"HTTP/2: {error}"))
        except RpcError as error:
            self._over(error)
        self._flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        why = f"the connection broke: {exc}" if exc else "the server closed the connection"
        self._over(RpcError("UNAVAILABLE", why))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream)
            for message in self._reader.feed(event.data):
                self._waiting.append(message)
                self._waiting_bytes += len(message)
            if self._waiting_bytes >= MAX_WAITING_BYTES and self._transport is not None:
                self._transport.pause_reading()
        elif isinstance(event, ResponseReceived | TrailersReceived):
            self._answer.extend((str(name), str(value)) for name, value in event.headers)
        elif isinstance(event, StreamEnded):
            self._over(status(self._answer))
        elif isinstance(event, StreamReset):
            name = _error_name(event.error_code)
            self._over(RpcError("UNAVAILABLE", f"the server reset the call: {name}"))
        elif isinstance(event, ConnectionTerminated):
            name = _error_name(event.error_code)
            self._over(RpcError("UNAVAILABLE", f"the server is going away: {name}"))
        elif isinstance(event, PingAckReceived):
            self._rearm(PING_EVERY_S, self._ping)
        elif isinstance(event, WindowUpdated):
            pass  # `_changed`, set behind every read, wakes whoever waits for room

    def _over(self, error: RpcError | None) -> None:
        """The first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._changed.set()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    # ------------------------------------------------------------------ is anybody there

    def _ping(self) -> None:
        if not self._ended and self._transport is not None:
            self._h2.ping(b"weftweft")
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


def _error_name(code: ErrorCodes | int | None) -> str:
    try:
        return ErrorCodes(code or 0).name
    except ValueError:
        return str(code)
