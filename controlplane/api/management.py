"""weft.v1.Management over grpc.aio, for whoever has the administrator's token.

It decodes, asks, and encodes; what happens is decided behind `Actions`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn

import grpc
import grpc.aio

from controlplane.api.encode import (
    encode_deletion,
    encode_outcome,
    encode_proxy,
    encode_status,
    encode_stored,
)
from controlplane.api.token_desk import TokenDesk
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.caller import Unauthenticated
from controlplane.ca.tokens import JoinTokens
from controlplane.kinds.nouns import UnknownWord
from controlplane.objects import Application, Deletion, Outcome, Query, Stored, Text
from controlplane.rpc.context import Context
from controlplane.rpc.methods import Registry
from controlplane.sources.store.values import StoreAway, TooMuch
from controlplane.status import StatusRegistry
from protos.frozen import frozen
from protos.gen.weft.v1 import management_pb2 as pb
from protos.gen.weft.v1 import management_pb2_grpc

STORE_AWAY = ("weft-away", "store")
"""In the trailers: the control plane itself is there."""
WATCH_INTERVAL_S = 0.1
"""The least time between two messages of WatchStatus."""


@frozen
class Actions:
    """delete(kind, namespace, name, wait_s). All but apply raise UnknownWord for a kind; apply and
    delete raise StoreAway."""

    apply: Callable[[Application], Awaitable[Outcome]]
    delete: Callable[[str, str, str, float | None], Awaitable[Deletion]]
    find: Callable[[Query], Awaitable[list[Stored]]]
    watch: Callable[[Query], AsyncIterator[tuple[str, Stored | None]]]


class ManagementService(management_pb2_grpc.ManagementServicer):
    """Add it to a server with `register_management`."""

    def __init__(
        self,
        authenticator: Authenticator,
        tokens: JoinTokens,
        actions: Actions,
        registry: StatusRegistry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authenticator = authenticator
        self._tokens = TokenDesk(tokens, clock)
        self._actions = actions
        self._registry = registry
        self._clock = clock

    async def CreateJoinToken(
        self, request: pb.CreateJoinTokenRequest, context: Context
    ) -> pb.JoinToken:
        await self._require_admin(context)
        return await self._tokens.create(request, context)

    async def ListJoinTokens(
        self, request: pb.ListJoinTokensRequest, context: Context
    ) -> pb.ListJoinTokensResponse:
        await self._require_admin(context)
        return self._tokens.listed()

    async def DeleteJoinToken(
        self, request: pb.DeleteJoinTokenRequest, context: Context
    ) -> pb.DeleteJoinTokenResponse:
        await self._require_admin(context)
        return await self._tokens.delete(request, context)

    async def Apply(self, request: pb.ApplyRequest, context: Context) -> pb.ApplyResponse:
        await self._require_admin(context)
        texts = [Text(one.text, one.source or "api") for one in request.manifests]
        if request.manifest or not texts:
            texts.insert(0, Text(request.manifest, request.source or "api"))
        asked = Application(tuple(texts), request.dry_run, _wait_s(request), request.transient)
        try:
            return encode_outcome(await self._actions.apply(asked))
        except StoreAway as error:
            return await _unwritten(context, error)

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        await self._require_admin(context)
        for name in ("kind", "name"):
            if not getattr(request, name):
                await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{name} is empty")
        namespace = request.namespace or "default"
        try:
            wait_s = _wait_s(request)
            done = await self._actions.delete(request.kind, namespace, request.name, wait_s)
        except UnknownWord as error:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreAway as error:
            return await _unwritten(context, error)
        return encode_deletion(done)

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.StoredObject:
        await self._require_admin(context)
        for name in ("kind", "name"):
            if not getattr(request, name):
                await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{name} is empty")
        namespace = request.namespace or "default"
        query = Query(request.kind, namespace, request.name, manifests=True)
        found = await self._find(query, context)
        if not found:
            reason = f"there is no {request.kind} {namespace}/{request.name}"
            return await _refuse(context, grpc.StatusCode.NOT_FOUND, reason)
        if len(found) > 1:
            reason = f"{request.kind} is ambiguous: {' and '.join(str(one.key) for one in found)}"
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
        return encode_stored(found[0])

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        await self._require_admin(context)
        found = await self._find(_query(request), context)
        return pb.ListResponse(objects=[encode_stored(one) for one in found])

    async def Watch(
        self, request: pb.ListRequest, context: Context
    ) -> AsyncIterator[pb.WatchEvent]:
        await self._require_admin(context)
        try:
            async for type_, one in self._actions.watch(_query(request)):
                shown = None if one is None else encode_stored(one)
                yield pb.WatchEvent(type=type_, object=shown)
        except UnknownWord as error:
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _find(self, query: Query, context: Context) -> list[Stored]:
        try:
            return await self._actions.find(query)
        except UnknownWord as error:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def ListProxies(
        self, request: pb.ListProxiesRequest, context: Context
    ) -> pb.ListProxiesResponse:
        await self._require_admin(context)
        proxies = self._registry.current().proxies
        return pb.ListProxiesResponse(proxies=[encode_proxy(one) for one in proxies])

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.MeshStatus:
        await self._require_admin(context)
        return encode_status(self._registry.current())

    async def WatchStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> AsyncIterator[pb.MeshStatus]:
        """The state now and after changes, at most one in WATCH_INTERVAL_S: a thousand proxies
        that connect are many changes, and each message holds them all. Never an old state."""
        await self._require_admin(context)
        sent: pb.MeshStatus | None = None
        while True:
            seen = self._registry.changes
            current = encode_status(self._registry.current())
            if current != sent:
                sent = current
                yield current
                await asyncio.sleep(WATCH_INTERVAL_S)
            await self._registry.wait(seen)

    async def _require_admin(self, context: Context) -> None:
        caller = await self._authenticator.authenticate(context, self._clock())
        if isinstance(caller, Unauthenticated):
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, caller.reason)
        elif not caller.admin:
            reason = "the management API is for the administrator's token (admin.token)"
            await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason)


def _wait_s(request: pb.ApplyRequest | pb.DeleteRequest) -> float | None:
    return request.wait.ToMicroseconds() / 1e6 if request.HasField("wait") else None


def _query(request: pb.ListRequest) -> Query:
    labels = dict(request.labels)
    return Query(request.kind, request.namespace, request.name, labels, request.manifests)


async def _unwritten(context: Context, error: StoreAway) -> NoReturn:
    much = isinstance(error, TooMuch)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if much else grpc.StatusCode.UNAVAILABLE
    await context.abort(code, error.reason, (STORE_AWAY,))


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)


def register_management(service: ManagementService, server: Registry) -> None:
    # Generated code has no types.
    management_pb2_grpc.add_ManagementServicer_to_server(service, server)  # type: ignore[no-untyped-call]
