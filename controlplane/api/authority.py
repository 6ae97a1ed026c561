"""weft.v1.Authority over grpc.aio: rotation, rehearsal and revocation, for the administrator.

It decodes, asks, and encodes; what happens is decided in the rooms behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NoReturn

import grpc
import grpc.aio

from certs.errors import CertificateError
from controlplane.api.encode import timestamp
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.caller import Unauthenticated
from controlplane.ca.revocations import Revocations
from controlplane.rotation.conductor import Conductor, RotationStatus
from controlplane.rotation.progress import ProxyProgress
from controlplane.rotation.rehearsal import Rehearsals
from controlplane.rotation.rehearsing import SharedRehearsals
from controlplane.rpc.context import Context
from controlplane.rpc.methods import Registry
from protos.frozen import frozen
from protos.gen.weft.v1 import authority_pb2 as pb
from protos.gen.weft.v1 import authority_pb2_grpc


@frozen
class AuthorityRooms:
    """on_revoked: what has to follow from a change of the revocations. relist: takes revocation
    lists (PEM, and what they are), with all that follows."""

    conductor: Conductor
    rehearsals: Rehearsals | SharedRehearsals
    revocations: Revocations
    on_revoked: Callable[[], None]
    relist: Callable[[bytes, str], Awaitable[None]]


class AuthorityService(authority_pb2_grpc.AuthorityServicer):
    """Add it to a server with `register_authority`."""

    def __init__(
        self,
        authenticator: Authenticator,
        rooms: AuthorityRooms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authenticator = authenticator
        self._rooms = rooms
        self._clock = clock

    async def GetRotation(self, request: pb.GetRotationRequest, context: Context) -> pb.Rotation:
        await self._require_admin(context)
        return _rotation(self._rooms.conductor.status())

    async def Rotate(
        self, request: pb.RotateRequest, context: Context
    ) -> AsyncIterator[pb.Rotation]:
        await self._require_admin(context)
        conductor = self._rooms.conductor
        await _do(context, conductor.go(request.target, frozenset(request.without)))
        sent: pb.Rotation | None = None
        while True:
            status = conductor.status()
            current = _rotation(status)
            if current != sent:
                sent = current
                yield current
            if status.over:
                return
            await conductor.changed()

    async def AbortRotation(
        self, request: pb.AbortRotationRequest, context: Context
    ) -> pb.Rotation:
        await self._require_admin(context)
        await _do(context, self._rooms.conductor.abort(request.target))
        return _rotation(self._rooms.conductor.status())

    async def Rehearse(self, request: pb.RehearseRequest, context: Context) -> pb.Rehearsal:
        await self._require_admin(context)
        found = await _do(context, self._rooms.rehearsals.run(request.target))
        return pb.Rehearsal(proxies=_proxies(found))

    async def Revoke(self, request: pb.RevokeRequest, context: Context) -> pb.Revocations:
        await self._require_admin(context)
        revocations = self._rooms.revocations
        if request.HasField("lists"):
            await _do(context, self._rooms.relist(request.lists, "the file"))
            return _revocations(revocations)
        if request.restore:
            work = asyncio.to_thread(revocations.restore, request.what)
        else:
            work = asyncio.to_thread(revocations.revoke, request.what, request.reason)
        await _do(context, work)
        self._rooms.on_revoked()
        return _revocations(revocations)

    async def GetRevocations(
        self, request: pb.GetRevocationsRequest, context: Context
    ) -> pb.Revocations:
        await self._require_admin(context)
        return _revocations(self._rooms.revocations)

    async def _require_admin(self, context: Context) -> None:
        caller = await self._authenticator.authenticate(context, self._clock())
        if isinstance(caller, Unauthenticated):
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, caller.reason)
        elif not caller.admin:
            reason = "the authority is for the administrator's token (admin.token)"
            await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, reason)


async def _do(context: Context, work: Awaitable[Any]) -> Any:
    """What comes of it; the call ends with the reason if it cannot be done."""
    try:
        return await work
    except CertificateError as error:
        return await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except OSError as error:
        reason = f"the state cannot be written: {error.strerror or error}"
        return await _refuse(context, grpc.StatusCode.UNAVAILABLE, reason)


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)


def _rotation(status: RotationStatus) -> pb.Rotation:
    return pb.Rotation(
        phase=str(status.phase),
        issuing=status.issuing,
        other=status.other,
        waiting_for=status.waiting_for,
        proxies=_proxies(status.proxies),
        problem=status.problem,
    )


def _proxies(found: Iterable[ProxyProgress]) -> list[pb.ProxyProgress]:
    return [
        pb.ProxyProgress(
            node_id=one.node_id, identity=one.identity, state=one.state, detail=one.detail
        )
        for one in found
    ]


def _revocations(revocations: Revocations) -> pb.Revocations:
    return pb.Revocations(
        revocations=[
            pb.Revocation(what=one.what, reason=one.reason, at=timestamp(one.at))
            for one in revocations.all()
        ]
    )


def register_authority(service: AuthorityService, server: Registry) -> None:
    # Generated code has no types.
    authority_pb2_grpc.add_AuthorityServicer_to_server(service, server)  # type: ignore[no-untyped-call]
