"""Services that CUSTOM policies ask, for judging: whoever is asked says no.

So a request is denied by them exactly where a CUSTOM rule takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from controlplane.mesh.policy import Authorizer
from tests.support.authz_court import served
from tests.support.authz_server import DENIED, AuthzServer

PORT = 9000
TIMEOUT_S = 10.0
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def here(authorizers: Iterable[Authorizer]) -> Iterator[Authorizer]:
    """The same, asked at the services of `refusing`, with time to answer."""
    for one in authorizers:
        yield replace(one, host=f"{one.protocol}.asked", port=PORT, timeout_s=TIMEOUT_S)


@asynccontextmanager
async def refusing() -> AsyncIterator[list[dict[str, Any]]]:
    """Gives the clusters of both services."""
    with AuthzServer() as grpc:
        grpc.answer = DENIED
        async with served(_refuse) as port:
            yield [_cluster("http", port), _cluster("grpc", grpc.port, _HTTP2)]


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")


def _cluster(protocol: str, port: int, options: dict[str, Any] | None = None) -> dict[str, Any]:
    name = f"outbound|{PORT}||{protocol}.asked"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        **({"typed_extension_protocol_options": options} if options else {}),
    }
