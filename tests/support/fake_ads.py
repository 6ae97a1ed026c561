"""A small control plane over a real gRPC server: it holds resources and pushes when told to.

Both variants. `requests` keeps everything that clients said, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2 as pb
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

from protos.types import CDS, LDS, PREFIX

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@dataclass(slots=True)
class FakeAds:
    """`resources`: {type URL: {name: (version, message)}}. `refuse`: abort every new stream."""

    resources: dict[str, dict[str, tuple[str, Message]]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    peers: list[Mapping[str, Any]] = field(default_factory=list)
    refuse: str = ""
    silent: frozenset[str] = frozenset()
    port: int = 0
    _server: Any = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _nonce: int = 0
    _pushes: int = 0

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta,
                pb.DeltaDiscoveryRequest.FromString,
                pb.DeltaDiscoveryResponse.SerializeToString,
            ),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._sotw,
                pb.DiscoveryRequest.FromString,
                pb.DiscoveryResponse.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def put(self, type_url: str, name: str, version: str, message: Message) -> None:
        self.resources.setdefault(type_url, {})[name] = (version, message)

    async def push(self) -> None:
        """Every stream compares what it has sent with what there is."""
        async with self._changed:
            self._pushes += 1
            self._changed.notify_all()

    def said(self, type_url: str) -> list[Any]:
        return [each for each in self.requests if each.type_url == type_url]

    async def _admit(self, context: Any) -> None:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        self.peers.append(context.auth_context())
        if self.refuse:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, self.refuse)

    def next_nonce(self) -> str:
        self._nonce += 1
        return f"n{self._nonce}"

    async def _delta(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._admit(context)
        stream = _DeltaStream(self, context)
        await self._run(requests, stream)

    async def _sotw(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._admit(context)
        await self._run(requests, _SotwStream(self, context))

    async def _run(self, requests: AsyncIterator[Any], stream: Stream) -> None:
        writing = asyncio.Lock()  # gRPC takes one message at a time

        async def pushing(seen: int) -> None:
            while True:
                async with self._changed:
                    while self._pushes == seen:
                        await self._changed.wait()
                    seen = self._pushes
                async with writing:
                    for type_url in tuple(stream.wanted):
                        await stream.compare(type_url)

        pusher = asyncio.get_running_loop().create_task(pushing(self._pushes))
        try:
            async for request in requests:
                self.requests.append(request)
                async with writing:
                    await stream.heard(request)
        finally:
            pusher.cancel()


class Stream:
    def __init__(self, server: FakeAds, context: Any) -> None:
        self.server = server
        self.context = context
        self.wanted: dict[str, set[str] | None] = {}
        self.sent: dict[str, dict[str, str]] = {}

    async def heard(self, request: Any) -> None:
        raise NotImplementedError

    async def compare(self, type_url: str, must: bool = False) -> None:
        raise NotImplementedError

    def has(self, type_url: str) -> dict[str, tuple[str, Message]]:
        names = self.wanted[type_url]
        every = self.server.resources.get(type_url, {})
        return {name: each for name, each in every.items() if names is None or name in names}


class _DeltaStream(Stream):
    async def heard(self, request: Any) -> None:
        type_url = request.type_url
        first = type_url not in self.wanted
        if first:
            self.wanted[type_url] = None if type_url in (CDS, LDS) else set()
            self.sent[type_url] = dict(request.initial_resource_versions)
        names = self.wanted[type_url]
        if names is not None:
            names |= set(request.resource_names_subscribe)
            names -= set(request.resource_names_unsubscribe)
            for name in request.resource_names_unsubscribe:
                self.sent[type_url].pop(name, None)
        await self.compare(type_url, must=first)

    async def compare(self, type_url: str, must: bool = False) -> None:
        if type_url in self.server.silent:
            return
        here, sent = self.has(type_url), self.sent[type_url]
        changed = {k: v for k, v in here.items() if sent.get(k) != v[0]}
        removed = [name for name in sent if name not in here]
        if not (changed or removed or must):
            return
        response = pb.DeltaDiscoveryResponse(
            type_url=type_url, nonce=self.server.next_nonce(), removed_resources=removed
        )
        response.control_plane.identifier = "fake"
        for name, (version, message) in changed.items():
            item = response.resources.add(name=name, version=version)
            item.resource.CopyFrom(packed(message))
        self.sent[type_url] = {name: version for name, (version, _) in here.items()}
        await self.context.write(response)


class _SotwStream(Stream):
    async def heard(self, request: Any) -> None:
        type_url = request.type_url
        before = self.wanted.get(type_url, "never")
        self.wanted[type_url] = None if type_url in (CDS, LDS) else set(request.resource_names)
        await self.compare(type_url, must=before != self.wanted[type_url])

    async def compare(self, type_url: str, must: bool = False) -> None:
        if type_url in self.server.silent:
            return
        here = self.has(type_url)
        versions = {name: version for name, (version, _) in here.items()}
        if not must and versions == self.sent.get(type_url):
            return
        self.sent[type_url] = versions
        response = pb.DiscoveryResponse(
            type_url=type_url,
            nonce=self.server.next_nonce(),
            version_info=",".join(sorted(versions.values())),
            resources=[packed(message) for _, message in here.values()],
        )
        response.control_plane.identifier = "fake"
        await self.context.write(response)


def packed(message: Message) -> PackedAny:
    found = PackedAny(type_url=PREFIX + message.DESCRIPTOR.full_name)
    found.value = message.SerializeToString()
    return found
