"""Aggregated discovery over grpc.aio: the shell around the two state machines.

Each stream has one machine and one lock: whoever holds the lock feeds the machine and writes what
comes out, in order. A slow reader holds up only its own stream: `write` waits, and of all
configurations that come meanwhile only the last one is taken. Responses are bytes already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError

from certs.spiffe import SpiffeId
from certs.x509 import Certificate
from controlplane.emit.node import BadNode, Node, parse
from controlplane.tasks import spawn
from controlplane.xds import admission
from controlplane.xds.admission import Proof, Seats, objection
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.delta import DeltaStream
from controlplane.xds.sotw import SotwStream
from controlplane.xds.stream import Answer, Stream
from controlplane.xds.wire import Push
from protos.types import HEALTH, short_name

log = logging.getLogger("weft.controlplane.xds")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CANCEL_DELAY_S = 0.02
WOKEN_AT_ONCE = 50
Request: TypeAlias = DiscoveryRequest | DeltaDiscoveryRequest
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Authenticate = Callable[[Any], Awaitable[Proof]]


@dataclass(slots=True, eq=False)
class Connection:
    """One admitted stream, as status sees it. Times are Unix seconds; 0 is never.

    leaf: the certificate that it came with, None if by token. left: its client has ended it in
    order, and not merely gone. unwanted: why it is about to be ended. due: a configuration is in
    force that its watcher has yet to compare with what it has. healthy: what an agent has told of
    its workload, None while it is silent."""

    node: Node
    identity: SpiffeId
    variant: str
    connected_at: float
    machine: Stream
    last_push_at: float = 0.0
    changed_at: float = 0.0
    leaf: Certificate | None = None
    open: bool = True
    left: bool = False
    unwanted: str = ""
    due: bool = False
    healthy: bool | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Observer(Protocol):
    """Who wants to know what happens on streams."""

    def changed(self, connection: Connection) -> None: ...
    def pushed(self, connection: Connection, push: Push) -> None: ...
    def rejected(self, connection: Connection, answer: Answer) -> None: ...
    def converged(self, connection: Connection, after_s: float) -> None: ...


class AdsService:
    def __init__(
        self,
        authenticate: Authenticate,
        cache: SnapshotCache,
        observers: Iterable[Observer],
        clock: Callable[[], float],
        seats: Seats | None = None,
    ) -> None:
        self._authenticate = authenticate
        self._seats = seats or Seats()
        self._cache = cache
        self._observers = tuple(observers)
        self._clock = clock
        self.connections: dict[Connection, None] = {}
        self._to_wake: dict[Connection, None] = {}

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What to add to a grpc.aio server. Without serializers: bytes pass as they are."""
        methods = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def publish(self) -> None:
        """Tells every stream to compare its node's snapshot with what it has."""
        now = self._clock()
        for connection in self.connections:
            if not connection.changed_at:
                connection.changed_at = now
            connection.due = True
        if not self._to_wake and self.connections:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._to_wake.update(self.connections)

    def _wake_some(self) -> None:
        """A few in each turn of the loop, so that what they send and answer has its turns, too."""
        for connection in tuple(islice(self._to_wake, WOKEN_AT_ONCE)):
            del self._to_wake[connection]
            if not self._is_unconcerned(connection):
                connection.wake.set()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _is_unconcerned(self, connection: Connection) -> bool:
        """Its node has what it had: its watcher need not be woken to find that out."""
        if connection.lock.locked() or connection.unwanted:
            return False
        try:
            snapshot = self._cache.snapshot(connection.node)
        except Exception:
            return False  # its watcher will say so, and end the stream
        if snapshot is not connection.machine.snapshot:
            return False
        connection.due = False
        self._settle(connection)
        return True

    def sever(self, why_not: Callable[[Connection], str]) -> None:
        """Ends each stream for which there is a reason why it should not be."""
        for connection in self.connections:
            connection.unwanted = why_not(connection)
            if connection.unwanted:
                connection.wake.set()

    async def _sotw(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._serve(requests, context, DiscoveryRequest, SotwStream)

    async def _delta(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._serve(requests, context, DeltaDiscoveryRequest, DeltaStream)

    async def _serve(
        self,
        requests: AsyncIterator[bytes],
        context: Context,
        request_class: type[DiscoveryRequest] | type[DeltaDiscoveryRequest],
        machine_class: type[SotwStream] | type[DeltaStream],
    ) -> None:
        proof = await self._authenticate(context)
        if proof.refusal:  # before anything that a stranger sends is read
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, proof.refusal)
        first = await anext(aiter(requests), None)
        if first is None:
            return
        request = await _decode(request_class, first, context)
        node, identity = await self._admit(request, proof, context)
        machine = machine_class(self._cache.snapshot(node))
        variant = "delta" if machine_class is DeltaStream else "sotw"
        connection = Connection(node, identity, variant, self._clock(), machine, leaf=proof.leaf)
        if no_room := self._seats.take(identity):
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, no_room)
        self.connections[connection] = None
        log.info("connected node=%s identity=%s variant=%s", node.id, identity, variant)
        self._changed(connection)
        watcher = spawn(self._watch(connection, context), f"discovery watcher of {node.id}")
        try:
            await self._feed(connection, request, context)
            async for data in requests:
                request = await _decode(request_class, data, context)
                await self._feed(connection, request, context)
            # grpc.aio ends the requests of a client that is gone, too, and cancels us then.
            await asyncio.sleep(CANCEL_DELAY_S)
            connection.left = True
        finally:
            watcher.cancel()
            connection.open = False
            self._to_wake.pop(connection, None)
            del self.connections[connection]
            self._seats.leave(identity)
            log.info("disconnected node=%s", node.id)
            self._changed(connection)

    async def _admit(
        self, request: Request, proof: Proof, context: Context
    ) -> tuple[Node, SpiffeId]:
        """The node that the first request names, if the stream may speak for it."""
        if not request.HasField("node"):
            reason = "the first request of a stream carries no node"
            return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
        try:
            node = parse(request.node)
        except BadNode as error:
            return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if why_not := objection(node, proof.identity):
            return await refuse(context, grpc.StatusCode.PERMISSION_DENIED, why_not)
        assert proof.identity is not None  # objection() has seen to it
        return node, proof.identity

    async def _feed(self, connection: Connection, request: Request, context: Context) -> None:
        if request.type_url == HEALTH:
            connection.healthy = not request.HasField("error_detail")
            self._changed(connection)
            return
        if _names_with(connection.machine, request) > admission.MAX_NAMES:
            reason = f"a stream may ask for no more than {admission.MAX_NAMES} resources by name"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        async with connection.lock:
            answer = connection.machine.feed(request)
            if answer.event == "nack":
                name = short_name(answer.type_url)
                log.warning("rejected node=%s type=%s: %s", connection.node.id, name, answer.detail)
                for observer in self._observers:
                    observer.rejected(connection, answer)
            await self._write(connection, answer.pushes, context)
            self._settle(connection)

    async def _watch(self, connection: Connection, context: Context) -> None:
        """Sends what changes, until cancelled or the client has gone (its reader notices too)."""
        try:
            while True:
                await connection.wake.wait()
                if connection.unwanted:
                    await refuse(context, grpc.StatusCode.UNAUTHENTICATED, connection.unwanted)
                await self._catch_up(connection, context)
        except grpc.aio.BaseError:
            return
        except Exception as error:
            # Our own mistake. Without its watcher the stream would stay and hear of nothing more.
            log.exception("stream ended node=%s", connection.node.id)
            with suppress(grpc.aio.BaseError):
                await context.abort(grpc.StatusCode.INTERNAL, f"configuration failed: {error}")

    async def _catch_up(self, connection: Connection, context: Context) -> None:
        async with connection.lock:
            connection.wake.clear()
            connection.due = False
            snapshot = self._cache.snapshot(connection.node)
            if snapshot is not connection.machine.snapshot:
                pushes = connection.machine.on_snapshot(snapshot)
                await self._write(connection, pushes, context)
            self._settle(connection)

    async def _write(
        self, connection: Connection, pushes: Iterable[Push], context: Context
    ) -> None:
        for push in pushes:
            await context.write(push.body)
            connection.last_push_at = self._clock()
            for observer in self._observers:
                observer.pushed(connection, push)

    def _settle(self, connection: Connection) -> None:
        """Notes when the node has acknowledged everything of the last change."""
        machine = connection.machine
        if connection.changed_at and machine.synced and not connection.due:
            if connection.last_push_at >= connection.changed_at:
                after_s = self._clock() - connection.changed_at
                for observer in self._observers:
                    observer.converged(connection, after_s)
            connection.changed_at = 0.0
        self._changed(connection)

    def _changed(self, connection: Connection) -> None:
        for observer in self._observers:
            observer.changed(connection)


async def _decode(
    request_class: type[DiscoveryRequest] | type[DeltaDiscoveryRequest],
    data: bytes,
    context: Context,
) -> Request:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        reason = f"not a {request_class.DESCRIPTOR.full_name}: {error}"
        return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)


def _names_with(machine: Stream, request: Request) -> int:
    """For how many the stream asks then, at most."""
    if isinstance(request, DeltaDiscoveryRequest):
        return (
            machine.names
            + len(request.resource_names_subscribe)
            + len(request.initial_resource_versions)
        )
    held = machine.subscriptions.get(request.type_url)  # all of a type are named each time
    return machine.names + len(request.resource_names) - (len(held.names) if held else 0)


async def refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    """Ends the call."""
    log.warning("refused stream peer=%s code=%s: %s", context.peer(), code.name, reason)
    await context.abort(code, reason)
