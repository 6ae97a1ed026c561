"""The ADS stream over grpc.aio: a shell with no knowledge of what is said on it.

grpc is imported when the first stream is opened: a proxy with static resources only never pays
for it. Each stream has a channel of its own, so that reconnecting follows our back-off and not
gRPC's, and a renewed certificate is used at once.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from proxy.config.model import AdsConfig
from proxy.xds.target import ChannelTls
from proxy.xds.update import Request

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # go-control-plane's servers take a ping every 30 s, istiod every 15 s, and end streams else.
    ("grpc.keepalive_time_ms", 35_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The environment's http_proxy is for applications; it may well be this proxy itself.
    ("grpc.enable_http_proxy", 0),
    # A subchannel shared with the last stream would also share gRPC's own back-off.
    ("grpc.use_local_subchannel_pool", 1),
)


class StreamEnded(ConnectionError):
    """The stream is over, whoever ended it; the text is one line with the reason."""


class AdsStream:
    """One open stream with a channel of its own. send and receive raise StreamEnded."""

    def __init__(self, channel: Any, call: Any) -> None:
        self._channel = channel
        self._call = call

    async def send(self, request: Request) -> None:
        try:
            await self._call.write(request)
        except _errors():
            raise StreamEnded(await self._reason()) from None

    async def receive(self) -> Any:
        """The next response, a message of the stream's variant."""
        try:
            response = await self._call.read()
        except _errors():
            raise StreamEnded(await self._reason()) from None
        # grpc.aio's end of a stream is a falsy object, a message never is.
        if not response:
            raise StreamEnded(await self._reason())
        return response

    async def _reason(self) -> str:
        code, details = await self._call.code(), await self._call.details()
        name = code.name if code is not None else "UNKNOWN"
        text = " ".join(str(details or "").split())
        return f"{name}: {text}" if text else name

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()


def _errors() -> tuple[type[Exception], ...]:
    import grpc.aio

    # InvalidStateError and UsageError: the call had ended before we wrote.
    return (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)


async def prepare() -> None:
    """Imports grpc aside: it takes a tenth of a second, in which the loop goes on."""
    await asyncio.to_thread(importlib.import_module, "grpc.aio")


def open_stream(
    address: str,
    tls: ChannelTls | None,
    ads: AdsConfig,
) -> AdsStream:
    """Begins to connect; whether it succeeds shows in the first send or receive."""
    import grpc.aio

    options: list[tuple[str, Any]] = list(_OPTIONS)
    if ads.authority:
        options.append(("grpc.default_authority", ads.authority))
    if tls is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        credentials = grpc.ssl_channel_credentials(tls.roots, tls.key, tls.chain)
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    request, response, method = _variant(ads.delta)
    stream_stream: Any = channel.stream_stream(
        _SERVICE + method,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return AdsStream(channel, stream_stream(metadata=ads.initial_metadata))


def _variant(delta: bool) -> tuple[Any, Any, str]:
    if delta:
        return (
            discovery_pb2.DeltaDiscoveryRequest,
            discovery_pb2.DeltaDiscoveryResponse,
            "DeltaAggregatedResources",
        )
    return (
        discovery_pb2.DiscoveryRequest,
        discovery_pb2.DiscoveryResponse,
        "StreamAggregatedResources",
    )
