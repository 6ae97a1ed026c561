"""weft.v1.Management over grpc.aio, for whoever has the administrator's token.

It decodes, asks, and encodes; what happens is decided behind `Actions`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from certs.errors import CertificateError
from controlplane.api.encode import encode_object, encode_status, timestamp
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.caller import Unauthenticated
from controlplane.ca.tokens import DEFAULT_TTL_S, JoinTokens, TooManyTokensError
from controlplane.mesh.model import Status
from controlplane.status import StatusRegistry
from protos.gen.weft.v1 import management_pb2 as pb
from protos.gen.weft.v1 import management_pb2_grpc

WATCH_INTERVAL_S = 0.1
"""The least time between two messages of WatchStatus."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Actions:
    """apply(manifest, source) -> what is said of it; delete(kind, namespace, name) -> existed.

    Both answer when it is in force."""

    apply: Callable[[str, str], Awaitable[tuple[Status, ...]]]
    delete: Callable[[str, str, str], Awaitable[bool]]


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
        self._tokens = tokens
        self._actions = actions
        self._registry = registry
        self._clock = clock

    async def CreateJoinToken(
        self, request: pb.CreateJoinTokenRequest, context: Context
    ) -> pb.JoinToken:
        await self._require_admin(context)
        namespace = request.namespace or "default"
        account = request.service_account or "default"
        ttl_s = request.ttl.ToMicroseconds() / 1e6 if request.HasField("ttl") else DEFAULT_TTL_S
        create = self._tokens.create
        try:
            # In a thread: it writes a file.
            token = await asyncio.to_thread(
                create, namespace, account, ttl_s, request.reusable, self._clock()
            )
        except CertificateError as error:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TooManyTokensError as error:
            return await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except OSError as error:
            reason = f"the token store cannot be written: {error.strerror}"
            return await _refuse(context, grpc.StatusCode.UNAVAILABLE, reason)
        return pb.JoinToken(
            token=token.token,
            identity=str(token.identity),
            expires_at=timestamp(token.expires_at),
        )

    async def Apply(self, request: pb.ApplyRequest, context: Context) -> pb.ApplyResponse:
        await self._require_admin(context)
        statuses = await self._actions.apply(request.manifest, request.source or "api")
        return pb.ApplyResponse(statuses=[encode_object(status) for status in statuses])

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        await self._require_admin(context)
        for name in ("kind", "name"):
            if not getattr(request, name):
                await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{name} is empty")
        namespace = request.namespace or "default"
        existed = await self._actions.delete(request.kind, namespace, request.name)
        return pb.DeleteResponse(existed=existed)

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


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)


def register_management(service: ManagementService, server: grpc.aio.Server) -> None:
    # Generated code has no types.
    management_pb2_grpc.add_ManagementServicer_to_server(service, server)  # type: ignore[no-untyped-call]
