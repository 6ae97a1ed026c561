"""Calls to an etcd cluster: one endpoint at a time, the next one when it fails.

    client = EtcdClient(place.endpoints, Access(tls=True, ca=pem))
    found = await client.range(b"weft/", b"weft0")
    answer = await client.txn(pb.TxnRequest(...))

Every failure is an `Away` with a reason for the user, or `Refused` where trying again is no use.
With a user each call has a token, asked for anew when etcd has forgotten it. Knows nothing of what
keys mean.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import field
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from controlplane.tasks import spawn
from protos.frozen import frozen
from protos.gen.etcd import rpc_pb2 as pb

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)
CALL_TIMEOUT_S = 5.0
_SERVICES = "/etcdserverpb"
PAGE = 500
"""Values that one answer may have."""
Metadata = tuple[tuple[str, str], ...]
_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", -1),
    # Somebody else's proxy has no business between a control plane and its store.
    ("grpc.enable_http_proxy", 0),
)
_ELSEWHERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_BROKEN = (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)
_OF_ALL = re.compile(r"^failed to connect to all addresses; last error: [A-Z_]+: ")
_HAS_LEADER = ("hasleader", "true")
"""Ends what is asked of a member that the others can't reach."""


class Away(Exception):
    """Nobody answers now."""


class Refused(Exception):
    """The cluster answers, and not as we ask."""


@frozen
class Access:
    """PEM; without a ca the system's roots. password: of `user`."""

    tls: bool = False
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    user: str = ""
    password: str = field(default="", repr=False)


class EtcdClient:
    """For one loop. Close it with `close()`."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        access: Access,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._endpoints = endpoints
        self._access = access
        self._timeout_s = call_timeout_s
        self._turn = 0
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._token = ""
        self._signing_in = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        return self._endpoints[self._turn % len(self._endpoints)]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    async def range(self, key: bytes, end: bytes = b"") -> tuple[list[pb.KeyValue], int]:
        """All of [key, end) as of one revision, and that."""
        found: list[pb.KeyValue] = []
        revision = 0
        while True:
            asked = pb.RangeRequest(key=key, range_end=end, limit=PAGE, revision=revision)
            answer = await self._call("KV/Range", asked, pb.RangeResponse)
            revision = revision or answer.header.revision
            found += answer.kvs
            if not answer.more:
                return found, revision
            key = answer.kvs[-1].key + b"\0"

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """What is asked must bear being done twice: an answer may be lost."""
        return await self._call("KV/Txn", request, pb.TxnResponse)

    async def grant(self, ttl_s: int) -> int:
        asked = pb.LeaseGrantRequest(TTL=ttl_s)
        return (await self._call("Lease/LeaseGrant", asked, pb.LeaseGrantResponse)).ID

    async def revoke(self, lease: int) -> None:
        asked = pb.LeaseRevokeRequest(ID=lease)
        await self._call("Lease/LeaseRevoke", asked, pb.LeaseRevokeResponse)

    async def keep_alive(self, lease: int) -> int:
        """How many seconds it has from now; 0: it is over."""

        async def once(channel: grpc.aio.Channel, metadata: Metadata) -> Any:
            types = pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
            method = _stream(channel, "Lease/LeaseKeepAlive", *types)
            call = method(metadata=metadata, timeout=self._timeout_s)
            try:
                await call.write(pb.LeaseKeepAliveRequest(ID=lease))
                answer = await call.read()
            finally:
                call.cancel()
            if not isinstance(answer, pb.LeaseKeepAliveResponse):
                raise Away("the lease's stream has ended")
            return answer

        return int((await self._tried(once)).TTL)

    async def watch(
        self, created: pb.WatchCreateRequest, alive: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """What is told, until it breaks. alive: runs beside it, and ends it when it ends."""
        async with AsyncExitStack() as stack:
            try:
                metadata = await self._metadata(self.channel())
                types = pb.WatchRequest, pb.WatchResponse
                call = _stream(self.channel(), "Watch/Watch", *types)(metadata=metadata)
                stack.callback(call.cancel)
                beside = spawn(self._ask_progress(call, alive), "progress of a watch")
                stack.callback(beside.cancel)
                async with asyncio.timeout(self._timeout_s):  # it hangs if ended before it begins
                    await call.write(pb.WatchRequest(create_request=created))
                while isinstance(answer := await call.read(), pb.WatchResponse):
                    yield answer  # until it is grpc.aio.EOF
            except _BROKEN as error:
                self._forget_token(error)
                self.next_endpoint()
                raise Away(_reason(error)) from None
            except (TimeoutError, asyncio.CancelledError):
                # grpc.aio tells of a call that `_ask_progress` has ended as if we were cancelled.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self.next_endpoint()
                raise Away("no answer in time") from None
        raise Away("the watch has ended")

    async def _ask_progress(self, call: Any, alive: Callable[[], Awaitable[None]]) -> None:
        """Each time that `alive` returns; when it raises, the watch ends."""
        try:
            while True:
                await alive()
                await call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        except (Away, *_BROKEN):
            call.cancel()

    # ------------------------------------------------------------------ endpoints, tokens

    def channel(self) -> grpc.aio.Channel:
        endpoint = self.endpoint
        if endpoint not in self._channels:
            self._channels[endpoint] = _dial(endpoint, self._access)
        return self._channels[endpoint]

    def next_endpoint(self) -> None:
        self._turn += 1

    async def _call(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        async def once(channel: grpc.aio.Channel, metadata: Metadata) -> Answer:
            call = _method(channel, method, request, answer)
            found: Answer = await call(request, metadata=metadata, timeout=self._timeout_s)
            return found

        return await self._tried(once)

    async def _tried(self, once: Callable[[grpc.aio.Channel, Metadata], Awaitable[T]]) -> T:
        """At each endpoint once, and again there if only our token was forgotten."""
        reason = ""
        for _ in range(len(self._endpoints) + 1):
            channel = self.channel()
            try:
                return await once(channel, await self._metadata(channel))
            except grpc.aio.AioRpcError as error:
                reason = _reason(error)
                if self._forget_token(error):
                    continue
                if error.code() not in _ELSEWHERE:
                    raise Refused(reason) from None
                self.next_endpoint()
        raise Away(reason)

    async def _metadata(self, channel: grpc.aio.Channel) -> Metadata:
        if not self._access.user:
            return (_HAS_LEADER,)
        async with self._signing_in:
            if not self._token:
                who = pb.AuthenticateRequest(name=self._access.user, password=self._access.password)
                call = _method(channel, "Auth/Authenticate", who, pb.AuthenticateResponse)
                self._token = (await call(who, timeout=self._timeout_s)).token
        return (_HAS_LEADER, ("token", self._token))

    def _forget_token(self, error: BaseException) -> bool:
        """Whether etcd says that it knows our token no more (it lives for minutes)."""
        known = bool(self._token) and "invalid auth token" in _reason(error)
        if known:
            self._token = ""
        return known


def _dial(endpoint: str, access: Access) -> grpc.aio.Channel:
    if not access.tls:
        return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(access.ca, access.key, access.certificate)
    return grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)


def _method(
    channel: grpc.aio.Channel, name: str, request: Message, answer: type[Answer]
) -> Callable[..., Any]:
    return channel.unary_unary(
        f"{_SERVICES}.{name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )


def _stream(
    channel: grpc.aio.Channel, name: str, request: type[Message], answer: type[Message]
) -> Callable[..., Any]:
    return channel.stream_stream(
        f"{_SERVICES}.{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        code = error.code()
        details = (error.details() or code.name).removeprefix("etcdserver: ")
        details = _OF_ALL.sub("", details)
        return "no answer in time" if code is grpc.StatusCode.DEADLINE_EXCEEDED else details
    return str(error) or type(error).__name__
