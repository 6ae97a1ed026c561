"""HTTP and JSON with an API server: answers as documents, watches as events.

    async with Client(access) as client:
        version = await client.get("/version")
        async with aclosing(client.watch("/api/v1/services", query)) as events: ...

Raises ApiError for what the server refuses, Broken for what is no answer of one, OSError,
TimeoutError or aiohttp.ClientError where it can not be reached (`UNREACHABLE` names them).
Objects stay dicts: the library's typed models cost more than all that is done with them here.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp

from controlplane.sources.kubernetes.access import Access
from controlplane.sources.kubernetes.answers import ApiError, Broken, Document, Event, error_of
from controlplane.sources.kubernetes.frames import Lines

log = logging.getLogger("weft.controlplane.kubernetes")

UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError, Broken)
TIMEOUT_S = 60.0
CONNECT_S = 10.0
WATCH_GRACE_S = 30.0
"""A watch ends after the timeoutSeconds that were asked for; if not by then, it is dead."""
KEEPALIVE_S = 10
"""A connection that carries nothing is probed, so that a vanished peer is noticed."""
MAX_ANSWER_BYTES = 512 * 1024 * 1024
_AGENT = "weft-controlplane"

Query = Mapping[str, str]


class Api(Protocol):
    """What of a Client a reflector needs."""

    async def get(self, path: str, query: Query = ..., accept: str = ...) -> Document: ...

    def watch(
        self, path: str, query: Query, opened: Callable[[], None]
    ) -> AsyncGenerator[Event, None]: ...


class Client:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    @property
    def server(self) -> str:
        return self._access.server

    async def __aenter__(self) -> Self:
        await self._access.load()
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self, path: str, query: Query | None = None, accept: str = "application/json"
    ) -> Document:
        return await self.send("GET", path, query, accept=accept)

    async def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        accept: str = "application/json",
    ) -> Document:
        """One request; the JSON of its answer. body: sent as JSON."""
        headers = {"accept": accept}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
        async with await self._ask(method, path, query, headers, data, timeout) as response:
            return _document(await _read(response))

    async def watch(
        self, path: str, query: Query, opened: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Event, None]:
        """Events until the server ends the watch. An ERROR event is raised as ApiError. opened() is
        called when the server has agreed: the first event may be long in coming."""
        asked_s = float(query.get("timeoutSeconds", 0)) or None
        total_s = None if asked_s is None else asked_s + WATCH_GRACE_S
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with await self._ask("GET", path, query, headers, None, timeout) as response:
            opened()
            lines = Lines()
            async for chunk in response.content.iter_any():
                for event in lines.feed(chunk):
                    if event.type == "ERROR":
                        raise error_of(0, event.object)
                    yield event
            lines.end()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Query | None,
        headers: dict[str, str],
        data: bytes | None,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """An answer whose status is 2xx, its body not yet read."""
        assert self._session is not None, "enter it first"
        headers["user-agent"] = _AGENT
        if authorization := await self._access.authorization():
            headers["authorization"] = authorization
        try:
            response = await self._session.request(
                method,
                self._access.server + path,
                params=query,
                headers=headers,
                data=data,
                timeout=limits,
                allow_redirects=False,
                proxy=self._access.proxy,
                server_hostname=self._access.tls_server_name,
            )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            await self._renew(distrusted=True)
            raise
        if 200 <= response.status < 300:
            return response
        async with response:
            error = await _refusal(response)
        if error.status == 401:
            await self._renew(distrusted=False)
        raise error

    async def _renew(self, *, distrusted: bool) -> None:
        """New credentials, perhaps a client certificate or a CA: for the connections to come."""
        if await self._access.renew(distrusted=distrusted):
            old = self._session
            self._open()
            if old is not None:
                await old.close()

    def _open(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0, ssl=self._access.tls or True, socket_factory=_socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=True,
            read_bufsize=2**18,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            trust_env=self._access.proxy is None and names_a_proxy(os.environ),
        )


def names_a_proxy(environment: Mapping[str, str]) -> bool:
    """Else aiohttp would only look for passwords in a .netrc."""
    return any(name.lower() in ("http_proxy", "https_proxy") for name in environment)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if (option := getattr(socket, name, None)) is not None:  # not on every system
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    if (option := getattr(socket, "TCP_KEEPCNT", None)) is not None:
        made.setsockopt(socket.IPPROTO_TCP, option, 3)
    return made


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise Broken(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _document(data: bytes) -> Document:
    try:
        said: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise Broken(f"an answer of {len(data)} bytes is no JSON") from None
    if not isinstance(said, dict):
        raise Broken(f"an answer of {len(data)} bytes is no object of an API")
    return said


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    data = await _read(response)
    try:
        body: object = _document(data)
    except Broken:
        body = data.decode("utf-8", "replace")
    return error_of(response.status, body, response.headers.get("retry-after", ""))
