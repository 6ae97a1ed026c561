"""Envoy's ClientStatusDiscoveryService over grpc.aio: what clients have, told to the administrator,
and to each proxy of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse
from google.protobuf.message import DecodeError

from certs.spiffe import SpiffeId
from controlplane.xds.client_status import BadRequest, asked_for, client_config
from controlplane.xds.service import Authenticate, Connection, Context, refuse

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
MAX_CALLS = 16
"""That are answered at a time; an answer may be large. Who asks nothing, or may not, takes none."""


class StatusService:
    def __init__(
        self, authenticate: Authenticate, connections: Callable[[], Iterable[Connection]]
    ) -> None:
        self._authenticate = authenticate
        self._connections = connections
        self._calls = 0

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What to add to a grpc.aio server."""
        methods = {
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _fetch(self, data: bytes, context: Context) -> bytes:
        return await self._answer(data, context)

    async def _stream(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        async for data in requests:
            yield await self._answer(data, context)

    async def _answer(self, data: bytes, context: Context) -> bytes:
        """Each request is answered for whoever the caller is then."""
        proof = await self._authenticate(context)
        if proof.refusal:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, proof.refusal)
        if self._calls >= MAX_CALLS:
            reason = f"{MAX_CALLS} calls for client status are under way already: try again"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        self._calls += 1
        try:
            return await self._told(data, proof.identity)
        except BadRequest as error:
            return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DecodeError as error:
            reason = f"not a ClientStatusRequest: {error}"
            return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
        finally:
            self._calls -= 1

    async def _told(self, data: bytes, who: SpiffeId | None) -> bytes:
        """who: None is the administrator. Raises BadRequest and DecodeError."""
        request = ClientStatusRequest.FromString(data)
        answer = ClientStatusResponse()
        for connection in asked_for(request, self._connections(), who):
            contents = not request.exclude_resource_contents
            answer.config.append(client_config(connection, contents=contents))
            await asyncio.sleep(0)  # others have their turns between two clients
        return answer.SerializeToString()
