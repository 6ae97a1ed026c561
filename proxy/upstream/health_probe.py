"""Asks a host how it is: one probe per host and kind of check, over connections of its own.

A probe keeps its connection for the next check where it may (`reuse_connection`). It is a shell
around the codecs; what an answer means is `health_judge`'s part.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from proxy.config.model import GrpcCheck, HttpCheck, SocketAddress, TcpCheck
from proxy.config.model.connecting import NO_SOCKETS
from proxy.http.errors import Malformed
from proxy.http.h1 import Limits, ResponseReader, request_head
from proxy.http.h2 import ClientConnection, ConnectionFailed, Options
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream.health_judge import (
    GOOD,
    LOST,
    Found,
    contains,
    grpc_request,
    judge_grpc,
    judge_http,
)
from proxy.upstream.sockets import connected

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls

READ_BYTES = 64 * 1024
CLOSE_NOTIFY_WAIT_S = 1.0
USER_AGENT = (b"user-agent", b"Envoy/HC")  # the name that applications know
CHECK_PATH = b"/grpc.health.v1.Health/Check"
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how: address of the check, TLS (None: plain text) and the protocols to offer,
    authority for HTTP. reuse: keep the connection. timeout_s: for grpc-timeout."""

    address: SocketAddress
    tls: ClientTls | None
    alpn: tuple[str, ...]
    authority: bytes
    reuse: bool
    timeout_s: float


class Probe(Protocol):
    async def check(self) -> Found:
        """What was found. OSError and TimeoutError are the caller's."""

    def close(self) -> None: ...


class _Stream(asyncio.StreamReaderProtocol):
    """transport: None before and after its life."""

    transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        super().connection_lost(exc)


class Wire:
    """A connection to the target, open or not."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    @property
    def usable(self) -> bool:
        """It was kept, and its peer has not closed it."""
        reader, writer = self.reader, self.writer
        return (
            reader is not None
            and writer is not None
            and not reader.at_eof()
            and not writer.is_closing()
        )

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.close()
        tls, loop = self.target.tls, asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = _Stream(reader)
        if tls is None:
            await self._connect(protocol)
        else:
            from proxy.tls.originate import originate  # a plaintext proxy has no use for it

            session = tls.session(self.target.alpn)
            await originate(session, protocol, self._connected, CLOSE_NOTIFY_WAIT_S)
        if protocol.transport is None:
            raise ConnectionResetError(f"{self.target.address} has closed the connection")
        self.reader = reader
        self.writer = asyncio.StreamWriter(protocol.transport, protocol, reader, loop)
        return self.reader, self.writer

    async def _connected(self) -> socket.socket:
        return await connected((self.target.address,), NO_SOCKETS, b"")

    async def _connect(self, protocol: asyncio.Protocol) -> None:
        loop, address = asyncio.get_running_loop(), self.target.address
        if address.path:
            await loop.create_unix_connection(lambda: protocol, address.path)
        else:
            await loop.create_connection(lambda: protocol, address.host, address.port)

    def close(self) -> None:
        writer, self.writer, self.reader = self.writer, None, None
        if writer is not None:
            writer.transport.abort()


class TcpProbe:
    """Without anything to receive a connection is enough."""

    def __init__(self, check: TcpCheck, target: Target) -> None:
        self._check = check
        self._wire = Wire(target)

    def close(self) -> None:
        self._wire.close()

    async def check(self) -> Found:
        wire, check = self._wire, self._check
        if not wire.usable:
            await wire.open()
        assert wire.reader is not None and wire.writer is not None
        if not check.receive:
            wire.close()
            return GOOD
        if check.send:
            wire.writer.write(check.send)
        seen = b""
        while not contains(seen, check.receive):
            data = await wire.reader.read(READ_BYTES)
            if not data:
                wire.close()
                return LOST
            seen += data
        if not wire.target.reuse:
            wire.close()
        return GOOD


class Answer:
    """What came of an answer, from either codec."""

    def __init__(self, most: int) -> None:
        self.response: Response | None = None
        self.body = b""
        self.trailers: Headers | None = None
        self.done = False
        self.lost = False
        self.leaving = False
        self._most = most

    def take(self, data: bytes) -> None:
        if not self._most:
            self.body += data
        elif len(self.body) < self._most:
            self.body += data[: self._most - len(self.body)]


class Http1Sink(Answer):
    """`ResponseReader`'s."""

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        self.response = response
        self.take(data)
        self.done = end

    def on_informational(self, status: int, headers: Headers) -> None:
        """100 and the like say nothing about the host."""

    def on_data(self, data: bytes) -> None:
        self.take(data)

    def on_end(self, trailers: Headers | None) -> None:
        self.trailers = trailers
        self.done = True


class HttpProbe:
    """Over HTTP/1.1."""

    def __init__(
        self,
        check: HttpCheck,
        target: Target,
        matches_service: Callable[[bytes], bool] | None,
    ) -> None:
        self._check = check
        self._wire = Wire(target)
        self._matches_service = matches_service
        self._request = http_request(check, target)

    def close(self) -> None:
        self._wire.close()

    async def check(self) -> Found:
        wire = self._wire
        if not wire.usable:
            await wire.open()
        answer = Http1Sink(self._check.body_bytes)
        reader = ResponseReader(answer, _LIMITS)
        reader.expect(self._request.method)
        try:
            await self._converse(answer, reader)
        except Malformed:
            answer.lost = True
        if answer.lost or answer.response is None:
            wire.close()
            return LOST
        if not reader.keep_alive or not wire.target.reuse:
            wire.close()
        return judge_http(self._check, answer.response, answer.body, self._matches_service)

    async def _converse(self, answer: Answer, reader: ResponseReader) -> None:
        wire = self._wire
        assert wire.reader is not None and wire.writer is not None
        wire.writer.write(request_head(self._request) + self._check.send)
        while not answer.done:
            data = await wire.reader.read(READ_BYTES)
            if data:
                reader.feed(data)
                continue
            reader.eof()
            answer.lost = not answer.done
            return


class Http2Sink(Answer):
    """`ClientConnection`'s, of which only one stream is asked for at a time."""

    def __init__(self, most: int, unsent: Callable[[], int]) -> None:
        super().__init__(most)
        self.unsent = unsent

    def on_response(self, stream_id: int, response: Response, data: bytes, end: bool) -> None:
        self.response = response
        self.take(data)
        self.done = end

    def on_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """100 and the like say nothing about the host."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        self.take(data)
        self.done = end

    def on_trailers(self, stream_id: int, headers: Headers) -> None:
        self.trailers = headers
        self.done = True

    def on_reset(self, stream_id: int, error_code: int, detail: str) -> None:
        self.done = self.lost = True

    def on_goaway(self, last_stream_id: int, error_code: int, debug: bytes) -> None:
        """In order, the check may end; else it has failed."""
        self.leaving = True
        if error_code:
            self.done = self.lost = True

    def on_settings(self) -> None:
        """What is asked needs no permission."""

    def on_ping_ack(self, data: bytes) -> None:
        """Nobody pings."""

    def on_window(self, stream_id: int) -> None:
        """What is sent fits into any window."""

    def count(self, name: str) -> None:
        """Checks are no requests of the cluster."""


class Http2Probe:
    """Over HTTP/2, by prior knowledge or ALPN. judge: what an answer means."""

    def __init__(
        self,
        request: Request,
        body: bytes,
        most: int,
        target: Target,
        judge: Callable[[Answer, Response], Found],
    ) -> None:
        self._request = request
        self._body = body
        self._most = most
        self._wire = Wire(target)
        self._judge = judge
        self._sink = Http2Sink(most, lambda: 0)
        self._codec: ClientConnection | None = None

    def close(self) -> None:
        self._codec = None
        self._wire.close()

    async def check(self) -> Found:
        try:
            answer = await self._converse()
        except ConnectionFailed:
            self.close()
            return LOST
        if answer.lost or answer.response is None:
            self.close()
            return LOST
        if answer.leaving or not self._wire.target.reuse:
            self.close()
        return self._judge(answer, answer.response)

    async def _converse(self) -> Answer:
        codec, answer = await self._begin()
        reader = self._wire.reader
        assert reader is not None
        stream_id = codec.new_stream()
        codec.send_head(stream_id, self._request, not self._body)
        if self._body:
            codec.send_data(stream_id, self._body, True)
        while not answer.done:
            data = await reader.read(READ_BYTES)
            if not data:
                answer.lost = True
                break
            codec.feed(data)
        return answer

    async def _begin(self) -> tuple[ClientConnection, Answer]:
        """The codec lives as long as the connection, its sink is emptied for each check."""
        wire, sink = self._wire, self._sink
        codec = self._codec
        if codec is None or not wire.usable or not codec.can_open:
            _, writer = await wire.open()
            sink = self._sink = Http2Sink(self._most, writer.transport.get_write_buffer_size)
            codec = self._codec = ClientConnection(sink, Options(), writer.write)
            codec.start()
        sink.response = sink.trailers = None
        sink.body = b""
        sink.done = sink.lost = False
        return codec, sink


def http_request(check: HttpCheck, target: Target) -> Request:
    """What the check asks, with the headers that it wants."""
    headers = Headers.of([USER_AGENT])
    for option in check.headers_to_add:
        add = headers.add if option.action == "APPEND_IF_EXISTS_OR_ADD" else headers.set
        if option.action == "ADD_IF_ABSENT" and option.name.lower().encode() in headers:
            continue
        if option.action == "OVERWRITE_IF_EXISTS" and option.name.lower().encode() not in headers:
            continue
        add(option.name.lower().encode(), option.value.replace("%%", "%").encode("latin-1"))
    for name in check.headers_to_remove:
        headers.remove(name.encode())
    if check.send:
        headers.set(b"content-length", b"%d" % len(check.send))
    scheme = b"https" if target.tls is not None else b"http"
    path, size = check.path.encode(), len(check.send)
    return Request(check.method.encode(), path, target.authority, headers, size, scheme=scheme)


def http2_probe(
    check: HttpCheck, target: Target, matches_service: Callable[[bytes], bool] | None
) -> Probe:
    def judge(answer: Answer, response: Response) -> Found:
        return judge_http(check, response, answer.body, matches_service)

    return Http2Probe(http_request(check, target), check.send, check.body_bytes, target, judge)


def grpc_probe(check: GrpcCheck, target: Target) -> Probe:
    """`grpc.health.v1.Health/Check`."""
    headers = Headers.of(
        [
            (b"te", b"trailers"),
            (b"grpc-timeout", b"%dm" % max(1, int(target.timeout_s * 1000))),
            (b"content-type", b"application/grpc"),
            USER_AGENT,
        ]
    )
    for option in check.initial_metadata:
        headers.add(option.name.lower().encode(), option.value.encode("latin-1"))
    scheme = b"https" if target.tls is not None else b"http"
    request = Request(b"POST", CHECK_PATH, target.authority, headers, scheme=scheme)

    def judge(answer: Answer, response: Response) -> Found:
        return judge_grpc(response, answer.body, answer.trailers)

    return Http2Probe(request, grpc_request(check), 0, target, judge)
