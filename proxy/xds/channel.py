"""The ADS stream: a gRPC call with the stream's messages, and no knowledge of what they say.

Each stream has a connection of its own, so that reconnecting follows our back-off and a renewed
certificate is used at once.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from proxy.config.model import AdsConfig
from proxy.http.grpc import RpcError
from proxy.rpc.credentials import client_tls
from proxy.xds.target import ChannelTls
from proxy.xds.update import Request

if TYPE_CHECKING:
    from proxy.rpc.call import Call

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class StreamEnded(ConnectionError):
    """The stream is over, whoever ended it; the text is one line with the reason."""


class AdsStream:
    """One open stream, whose connection ends with it. send and receive raise StreamEnded."""

    def __init__(self, call: Call, response: Any) -> None:
        self._call = call
        self._response = response

    async def send(self, request: Request) -> None:
        try:
            await self._call.send(request.SerializeToString())
        except RpcError as error:
            raise StreamEnded(str(error)) from None

    async def receive(self) -> Any:
        """The next response, a message of the stream's variant."""
        try:
            body = await self._call.receive()
        except RpcError as error:
            raise StreamEnded(str(error)) from None
        if body is None:
            raise StreamEnded("OK")
        try:
            return self._response.FromString(body)
        except DecodeError:
            name = self._response.DESCRIPTOR.full_name
            raise StreamEnded(f"the answer is not a {name}") from None

    async def finish(self) -> None:
        """Says that nothing more will come, and that this is as it should be."""
        await self._call.finish()

    def beside(self, path: str) -> Call:
        """Another call on the stream's connection. Raises RpcError."""
        return self._call.beside(path)

    def close(self) -> None:
        self._call.close()


async def open_stream(address: str, tls: ChannelTls | None, ads: AdsConfig) -> AdsStream:
    """Connects and begins the stream. Raises StreamEnded, also when nobody is there."""
    # Imported with the first stream, aside: it takes a while, in which the loop goes on.
    connection: Any = await asyncio.to_thread(importlib.import_module, "proxy.rpc.connection")
    response, method = _variant(ads.delta)
    authority = ads.authority or (tls.server_name if tls else "") or address
    try:
        credentials = None
        if tls is not None:
            credentials = client_tls(address, tls.roots, tls.server_name, tls.chain, tls.key)
        call = await connection.open_call(
            address,
            _SERVICE + method,
            tls=credentials,
            authority=authority,
            metadata=ads.initial_metadata,
            max_message_bytes=MAX_MESSAGE_BYTES,
        )
    except RpcError as error:
        raise StreamEnded(str(error)) from None
    return AdsStream(call, response)


def _variant(delta: bool) -> tuple[Any, str]:
    if delta:
        return discovery_pb2.DeltaDiscoveryResponse, "DeltaAggregatedResources"
    return discovery_pb2.DiscoveryResponse, "StreamAggregatedResources"
