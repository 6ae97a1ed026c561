"""Proxies that know several control planes, and go to the next when they lose one: delta ADS over
mutual TLS, with the versions that they hold, as Envoy and Weft do it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from protos.types import CDS, EDS, LDS, SDS
from tests.support.control_plane import SERVER_NAME
from tests.support.wait import eventually

DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
AGAIN_S = 0.05
LONG_S = 60.0
FENCE = "outbound|1||fence"
"""It has no endpoints, which is said at once: whoever holds all else that it asks for gets no other
answer."""


@dataclass(frozen=True, slots=True)
class Svid:
    """PEM."""

    roots: bytes
    key: bytes = field(repr=False)
    chain: bytes


class Roamer:
    """`with Roamer("w1", svid, [address, ...]) as proxy:` begins at the first address."""

    def __init__(self, name: str, svid: Svid, addresses: Sequence[str]) -> None:
        self.name = name
        self._svid = svid
        self._addresses = addresses
        self.held: dict[str, dict[str, str]] = {}
        self.texts: dict[tuple[str, str], bytes] = {}
        self.received: list[str] = []
        """Names of the resources that came since `forget`."""
        self.synced_at = ""
        """The address where all is held that was asked for."""
        self.ended: list[str] = []
        self._stop = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._roam, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(30)

    def forget(self) -> None:
        self.received = []

    def wait_synced(self, at: str = "") -> None:
        """Until all is held that was asked for, there if it is said where."""

        def synced() -> bool:
            return bool(self.synced_at) and self.synced_at.endswith(at)

        eventually(synced, LONG_S, f"{self.name} holds all: {self.ended}")

    def wait_for(self, words: bytes) -> None:
        """Until a resource that is held says so."""

        def has() -> bool:
            return any(words in text for text in tuple(self.texts.values()))

        eventually(has, LONG_S, f"{self.name} has {words!r}: {self.ended}")

    def _roam(self) -> None:
        turn = 0
        while not self._stop.is_set():
            address = self._addresses[turn % len(self._addresses)]
            try:
                self._stream(address)
            except grpc.RpcError as error:
                self.ended.append(f"{address}: {error}")
            self.synced_at = ""
            turn += 1
            self._stop.wait(AGAIN_S)

    def _stream(self, address: str) -> None:
        one = self._svid
        credentials = grpc.ssl_channel_credentials(one.roots, one.key, one.chain)
        options = (("grpc.ssl_target_name_override", SERVER_NAME),)
        with grpc.secure_channel(address, credentials, options) as channel:
            asked: queue.SimpleQueue[DeltaDiscoveryRequest | None] = queue.SimpleQueue()
            call = channel.stream_stream(
                DELTA,
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=DeltaDiscoveryResponse.FromString,
            )(iter(asked.get, None))
            self._call = call
            try:
                self._talk(address, call, asked)
            finally:
                asked.put(None)

    def _talk(
        self,
        address: str,
        call: Any,
        asked: queue.SimpleQueue[DeltaDiscoveryRequest | None],
    ) -> None:
        subscribed = self._clusters() | {FENCE}
        for type_url, names in ((CDS, set()), (LDS, set()), (SDS, {"ROOTCA"}), (EDS, subscribed)):
            asked.put(self._request(type_url, names))
        answered = False
        for response in call:
            self._take(response)
            ack = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            asked.put(ack)
            if new := self._clusters() - subscribed:
                subscribed |= new
                asked.put(DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=sorted(new)))
            answered = answered or any(one.name == FENCE for one in response.resources)
            held = self._clusters()
            if answered and held and held <= self.held.get(EDS, {}).keys():
                self.synced_at = address

    def _take(self, response: DeltaDiscoveryResponse) -> None:
        held = self.held.setdefault(response.type_url, {})
        found = [one for one in response.resources if one.name != FENCE]
        for one in found:
            held[one.name] = one.version
            self.texts[response.type_url, one.name] = one.resource.value
        self.received += [one.name for one in found]
        for name in response.removed_resources:
            held.pop(name, None)
            self.texts.pop((response.type_url, name), None)

    def _clusters(self) -> set[str]:
        return {name for name in self.held.get(CDS, ()) if name.startswith("outbound|")}

    def _request(
        self, type_url: str, names: set[str], *, again: bool = False
    ) -> DeltaDiscoveryRequest:
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=sorted(names))
        if not again:
            request.initial_resource_versions.update(self.held.get(type_url, {}))
        request.node.id = f"sidecar~127.0.0.1~{self.name}.default~default.svc.cluster.local"
        request.node.metadata.update(
            {
                "NAMESPACE": "default",
                "WORKLOAD_NAME": self.name,
                "SERVICE_ACCOUNT": self.name,
                "HTTP_PROXY_PORT": "15080",
                "WEFT_AGENT": "true",
                "LABELS": {"app": self.name},
            }
        )
        return request
