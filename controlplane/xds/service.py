"""Aggregated discovery over gRPC: the shell around the two state machines.

Each stream has one machine. A request is fed to it in the turn of the loop that brings it, and a
new configuration is sent in the turn that tells of it: no task, no lock, no queue of ours. A slow
reader holds up only its own stream: while its call is full nothing is fed or sent, and of all
configurations that come meanwhile only the last one is taken. Responses are bytes already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError

from certs.spiffe import SpiffeId
from certs.x509 import Certificate
from controlplane.emit.node import BadNode, Node, parse
from controlplane.rpc.call import Call
from controlplane.rpc.codes import INTERNAL, CallRefused
from controlplane.rpc.context import Context
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
WOKEN_AT_ONCE = 50
SLICE_S = 0.005
"""Of a turn of the loop, for what the first of many will share."""
Request: TypeAlias = DiscoveryRequest | DeltaDiscoveryRequest
Authenticate = Callable[[Any], Awaitable[Proof]]


@dataclass(slots=True, eq=False)
class Connection:
    """One admitted stream, as status sees it. Times are Unix seconds; 0 is never.

    leaf: the certificate that it came with, None if by token. left: its client has ended it in
    order, and not merely gone. unwanted: why it was ended. due: a configuration is in force that
    has yet to be compared with what it has. healthy: what an agent has told of its workload, None
    while it is silent."""

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


@dataclass(slots=True)
class _Preparation:
    """waiting: streams; it is not made for nobody."""

    task: asyncio.Task[None]
    waiting: int = 0


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
        self.connections: dict[Connection, Call] = {}
        self._to_wake: dict[Connection, None] = {}
        self._severed = 0
        self._preparing: dict[Hashable, _Preparation] = {}
        self._one_by_one = asyncio.Lock()

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What to add to our server. Without serializers: bytes pass as they are."""
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
        self._to_wake.update(dict.fromkeys(self.connections))

    def _wake_some(self) -> None:
        """A few in each turn of the loop, so that what they send and answer has its turns, too."""
        for connection in tuple(islice(self._to_wake, WOKEN_AT_ONCE)):
            del self._to_wake[connection]
            self._catch_up(connection)
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def sever(self, why_not: Callable[[Connection], str]) -> None:
        """Ends each stream for which there is a reason why it should not be."""
        self._severed += 1
        for connection, call in self.connections.items():
            connection.unwanted = why_not(connection)
            if connection.unwanted:
                error = refused(call, grpc.StatusCode.UNAUTHENTICATED, connection.unwanted)
                call.finish(error.code, connection.unwanted)

    async def _sotw(self, _: object, context: Context) -> None:
        await self._serve(context, DiscoveryRequest, SotwStream)

    async def _delta(self, _: object, context: Context) -> None:
        await self._serve(context, DeltaDiscoveryRequest, DeltaStream)

    async def _serve(
        self,
        context: Context,
        request_class: type[DiscoveryRequest] | type[DeltaDiscoveryRequest],
        machine_class: type[SotwStream] | type[DeltaStream],
    ) -> None:
        proof = await self._proven(context)  # before anything that a stranger sends is read
        call, severed = context.call, self._severed
        first = await call.read()
        if first is None:
            return
        request = _decode(request_class, first, call)
        node, identity = _admit(request, proof, call)
        if no_room := self._seats.take(identity):  # before it waits for anything
            raise refused(call, grpc.StatusCode.RESOURCE_EXHAUSTED, no_room)
        call.when_drained(partial(self._seats.leave, identity))
        await self._prepare(node)
        while severed != self._severed:  # since it was proven, and nobody has looked at it
            severed = self._severed
            proof = await self._proven(context)
            node, identity = _admit(request, proof, call)
        machine = machine_class(self._cache.snapshot(node))
        variant = "delta" if machine_class is DeltaStream else "sotw"
        connection = Connection(node, identity, variant, self._clock(), machine, leaf=proof.leaf)
        self.connections[connection] = call
        log.info("connected node=%s identity=%s variant=%s", node.id, identity, variant)
        self._changed(connection)
        call.on_room = partial(self._has_room, connection)
        try:
            self._feed(connection, request, call)
            await call.each(partial(self._hear, connection, request_class, call))
            connection.left = True
        finally:
            call.on_room = None
            connection.open = False
            self._to_wake.pop(connection, None)
            del self.connections[connection]
            log.info("disconnected node=%s", node.id)
            self._changed(connection)

    async def _prepare(self, node: Node) -> None:
        """Waits until what nodes like it share was made, between others' turns."""
        if (found := self._cache.preparation(node)) is None:
            return
        key, slices = found
        known = self._preparing.get(key)
        if known is None:
            task = spawn(self._in_slices(slices), "preparation")
            known = self._preparing[key] = _Preparation(task)
        known.waiting += 1
        try:
            await asyncio.wait((known.task,))  # its failure is told by what fails for it
        finally:
            known.waiting -= 1
            if not known.waiting:
                del self._preparing[key]
                known.task.cancel()

    async def _in_slices(self, slices: Iterator[None]) -> None:
        """Of one kind of node at a time."""
        async with self._one_by_one:
            ends_s = time.monotonic() + SLICE_S
            for _ in slices:
                if time.monotonic() >= ends_s:
                    await asyncio.sleep(0)
                    ends_s = time.monotonic() + SLICE_S

    async def _proven(self, context: Context) -> Proof:
        proof = await self._authenticate(context)
        if proof.refusal:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, proof.refusal)
        return proof

    # ------------------------------------------------------------------ one stream

    def _hear(
        self,
        connection: Connection,
        request_class: type[DiscoveryRequest] | type[DeltaDiscoveryRequest],
        call: Call,
        data: bytes,
    ) -> None:
        self._feed(connection, _decode(request_class, data, call), call)

    def _feed(self, connection: Connection, request: Request, call: Call) -> None:
        if request.type_url == HEALTH:
            connection.healthy = not request.HasField("error_detail")
            self._changed(connection)
            return
        if _names_with(connection.machine, request) > admission.MAX_NAMES:
            reason = f"a stream may ask for no more than {admission.MAX_NAMES} resources by name"
            raise refused(call, grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        answer = connection.machine.feed(request)
        if answer.event == "nack":
            name = short_name(answer.type_url)
            log.warning("rejected node=%s type=%s: %s", connection.node.id, name, answer.detail)
            for observer in self._observers:
                observer.rejected(connection, answer)
        self._write(connection, answer.pushes, call)
        self._settle(connection)

    def _has_room(self, connection: Connection) -> None:
        """Its client reads again."""
        if connection.due:
            self._catch_up(connection)

    def _catch_up(self, connection: Connection) -> None:
        """Sends what its node lacks by now; not to a client that does not read."""
        call = self.connections[connection]
        if call.full or call.over:
            return
        connection.due = False
        try:
            snapshot = self._cache.snapshot(connection.node)
            if snapshot is not connection.machine.snapshot:
                self._write(connection, connection.machine.on_snapshot(snapshot), call)
            self._settle(connection)
        except Exception as error:
            # Our own mistake, and no other stream's; this one would hear of nothing more.
            log.exception("stream ended node=%s", connection.node.id)
            call.finish(INTERNAL, f"configuration failed: {error}")

    def _write(self, connection: Connection, pushes: Iterable[Push], call: Call) -> None:
        for push in pushes:
            call.send_parts(push.parts)
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


def _admit(request: Request, proof: Proof, call: Call) -> tuple[Node, SpiffeId]:
    """The node that the first request names, if the stream may speak for it."""
    if not request.HasField("node"):
        reason = "the first request of a stream carries no node"
        raise refused(call, grpc.StatusCode.INVALID_ARGUMENT, reason)
    try:
        node = _by_protocol(parse(request.node), request)
    except BadNode as error:
        raise refused(call, grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
    if why_not := objection(node, proof.identity):
        raise refused(call, grpc.StatusCode.PERMISSION_DENIED, why_not)
    assert proof.identity is not None  # objection() has seen to it
    return node, proof.identity


def _by_protocol(node: Node, request: Request) -> Node:
    """On demand is by VHDS, which only the delta protocol has."""
    if not node.on_demand or isinstance(request, DeltaDiscoveryRequest):
        return node
    log.warning("node=%s asks for WEFT_ON_DEMAND, but not by DELTA_GRPC: it gets all", node.id)
    return replace(node, on_demand=False)


def _decode(
    request_class: type[DiscoveryRequest] | type[DeltaDiscoveryRequest], data: bytes, call: Call
) -> Request:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        reason = f"not a {request_class.DESCRIPTOR.full_name}: {error}"
        raise refused(call, grpc.StatusCode.INVALID_ARGUMENT, reason) from error


def _names_with(machine: Stream, request: Request) -> int:
    """For how many the stream asks then, at most; 0 if that are no more than before."""
    if isinstance(request, DeltaDiscoveryRequest):
        new = len(request.resource_names_subscribe) + len(request.initial_resource_versions)
        return machine.names + new if new else 0
    held = machine.subscriptions.get(request.type_url)  # all of a type are named each time
    return machine.names + len(request.resource_names) - (len(held.names) if held else 0)


def refused(call: Call, code: grpc.StatusCode, reason: str) -> CallRefused:
    """What ends the call when it is raised by whoever handles it; it is in the log already."""
    log.warning("refused stream peer=%s code=%s: %s", call.peer(), code.name, reason)
    return CallRefused(code.value[0], reason)


async def refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    """Ends the call."""
    raise refused(context.call, code, reason)
