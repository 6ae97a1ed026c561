"""A raw HTTP/1 client: sends the bytes a test gives it and returns the bytes that came back."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

from tests.support.http1 import LIMIT_BYTES, Headers, Message, Wire, read_response

DEADLINE_S = 20.0


class Client:
    """`async with Client(port) as client:` is one connection to 127.0.0.1:`port`."""

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        source: str = "127.0.0.1",
    ) -> None:
        self.port = port
        self.source = source
        self._tls = tls
        self._server_name = server_name or ("localhost" if tls else None)
        self._wire: Wire | None = None

    @property
    def wire(self) -> Wire:
        assert self._wire is not None, "not connected"
        return self._wire

    @property
    def received(self) -> bytes:
        """Every byte of this connection so far."""
        return bytes(self.wire.received)

    async def send(self, data: bytes) -> None:
        """Sends exactly `data`. A peer that has closed already is no error: read its answer."""
        try:
            await self.wire.send(data)
        except (ConnectionError, ssl.SSLError):
            pass

    async def response(self, method: str = "GET") -> Message | None:
        """The next response (1xx too) to a request of `method`; None if the connection ended."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await read_response(self.wire, method)
            except (ConnectionError, ssl.SSLError):
                return None  # also a client certificate that TLS 1.3 refuses after the handshake

    async def final(self, method: str = "GET") -> Message | None:
        """The next response that is not 1xx, 101 aside."""
        while True:
            message = await self.response(method)
            if message is None or message.status >= 200 or message.status == 101:
                return message

    async def request(
        self, method: str, path: str, headers: Headers | None = None, body: bytes = b""
    ) -> Message | None:
        """A well-formed request and its final response."""
        await self.send(request_bytes(method, path, headers, body))
        return await self.final(method)

    async def closed(self, deadline_s: float = DEADLINE_S) -> bool:
        """Whether the peer closes within `deadline_s`; what it still sends is in `received`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.wire.rest()
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            pass
        return True

    async def __aenter__(self) -> Self:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            limit=LIMIT_BYTES,
            ssl=self._tls,
            server_hostname=self._server_name,
            local_addr=(self.source, 0),
        )
        self._wire = Wire(reader, writer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wire.close()


def request_bytes(
    method: str, path: str, headers: Headers | None = None, body: bytes = b""
) -> bytes:
    """An HTTP/1.1 request; `host` and `content-length` are added where they are missing."""
    fields = list(headers or [])
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("host", "weft.test"))
    if body and not names & {"content-length", "transfer-encoding"}:
        fields.append(("content-length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked_body(chunks: list[bytes], trailers: Headers | None = None) -> bytes:
    """The bytes of a chunked body."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    end = "".join(f"{name}: {value}\r\n" for name, value in trailers or [])
    return b"".join(parts) + b"0\r\n" + end.encode("latin-1") + b"\r\n"
