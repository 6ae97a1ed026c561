"""The ADS stream's shell against servers that do not behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from proxy.config.model import AdsConfig
from proxy.xds.channel import StreamEnded, open_stream
from tests.support.fake_ads import SERVICE


@pytest.fixture
async def babbler() -> AsyncIterator[str]:
    """The address of a server whose answer is no protobuf, and who keeps the stream open."""

    async def babble(requests: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff"
        await asyncio.Event().wait()

    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(babble)
    handlers = {"DeltaAggregatedResources": method}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_an_answer_that_is_no_protobuf_ends_the_stream(babbler: str) -> None:
    stream = await open_stream(babbler, None, AdsConfig("xds", delta=True))
    with pytest.raises(StreamEnded, match=r"not a .*\.DeltaDiscoveryResponse"):
        await asyncio.wait_for(stream.receive(), 10)
    stream.close()
