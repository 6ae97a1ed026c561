"""Envoy's ClientStatusDiscoveryService over gRPC: what clients have, told to the administrator,
and to each proxy of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse
from google.protobuf.message import DecodeError

from certs.spiffe import SpiffeId
from controlplane.rpc.context import Context
from controlplane.xds.client_status import (
    MAX_PARTS,
    PART_BYTES,
    BadRequest,
    asked_for,
    client_config,
)
from controlplane.xds.service import Authenticate, Connection, refuse

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
MAX_CALLS = 16
"""That are answered at a time. Who asks nothing, or may not, takes none."""
TOO_LARGE = (
    f"the answer is more than {MAX_PARTS * PART_BYTES >> 20} MiB: name some clients by "
    "node_matchers, set exclude_resource_contents, or call StreamClientStatus, "
    "which answers in parts"
)


class StatusService:
    def __init__(
        self, authenticate: Authenticate, connections: Callable[[], Iterable[Connection]]
    ) -> None:
        self._authenticate = authenticate
        self._connections = connections
        self._calls = 0

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What to add to our server."""
        methods = {
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _fetch(self, data: bytes, context: Context) -> bytes:
        """One answer: what would be more parts than a few has to be asked for otherwise."""
        parts = []
        async for part in self._answer(data, context):
            parts.append(part)
            if len(parts) > MAX_PARTS:
                await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, TOO_LARGE)
        return b"".join(parts)  # what is repeated may be written one after the other

    async def _stream(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        async for data in requests:
            async for part in self._answer(data, context):
                yield part

    async def _answer(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """In parts, one at least. Each request is answered for whoever the caller is then."""
        proof = await self._authenticate(context)
        if proof.refusal:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, proof.refusal)
        if self._calls >= MAX_CALLS:
            reason = f"{MAX_CALLS} calls for client status are under way already: try again"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        self._calls += 1
        try:
            async for part in self._told(data, proof.identity):
                yield part
        except BadRequest as error:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DecodeError as error:
            reason = f"not a ClientStatusRequest: {error}"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
        finally:
            self._calls -= 1

    async def _told(self, data: bytes, who: SpiffeId | None) -> AsyncIterator[bytes]:
        """who: None is the administrator. Raises BadRequest and DecodeError."""
        request = ClientStatusRequest.FromString(data)
        contents = not request.exclude_resource_contents
        part, size = ClientStatusResponse(), 0
        for connection in asked_for(request, self._connections(), who):
            if size >= PART_BYTES:
                yield part.SerializeToString()
                part, size = ClientStatusResponse(), 0
            part.config.append(client_config(connection, contents=contents))
            size += part.config[-1].ByteSize()
            await asyncio.sleep(0)  # others have their turns between two clients
        yield part.SerializeToString()
