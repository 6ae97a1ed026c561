"""Calls the control plane's management API (weft.v1.Management), with the admin token.

One `Management` is one channel, for one loop. It starts nothing and keeps nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from protos.gen.weft.v1 import management_pb2 as pb
from weft.bootstrap import CONTROL_PLANE_NAME
from weft.errors import UserError
from weft.state import StateDir
from weft.tasks import spawn
from weft.view import (
    AppliedFacts,
    DeletedFacts,
    MeshFacts,
    ObjectFacts,
    ProxyFacts,
    RolloutFacts,
    ServiceFacts,
    StoredFacts,
    SyncFacts,
    TokenFacts,
    TypeFacts,
)

CALL_TIMEOUT_S = 5.0
CHANGE_TIMEOUT_S = 30.0
"""Of calls that go through everything that there is."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
STORE_AWAY = ("weft-away", "store")
"""In the trailers of a call that the control plane answers, and its store does not."""
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
Answer = TypeVar("Answer", bound=Message)


class Unavailable(UserError):
    """The control plane is not there now; the same call may work later."""


class Management:
    """A client of one control plane, found by its state directory. Close it with `close()`.

    roots: the file with the trust bundle, which changes when the authority is replaced."""

    __slots__ = ("_address", "_believed", "_channel", "_metadata", "_roots")

    def __init__(self, address: str, roots: Path, token: str) -> None:
        self._address = address
        self._roots = roots
        self._believed = roots.read_bytes()
        self._channel = self._dial()
        self._metadata = (("authorization", f"Bearer {token}"),)

    def _dial(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self._believed)
        options = [
            ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME),
            # A restarted control plane is back within a second: do not wait longer to look.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ]
        return grpc.aio.secure_channel(self._address, credentials, options)

    async def _follow_roots(self) -> None:
        """A channel keeps the roots that it was made with."""
        roots = self._roots.read_bytes()
        if roots != self._believed:
            self._believed = roots
            old, self._channel = self._channel, self._dial()
            spawn(old.close(CALL_TIMEOUT_S), "calls by the old roots")

    @classmethod
    def of(cls, state: StateDir) -> Management:
        """UserError where no control plane has written its address."""
        addresses = state.control_plane()
        if addresses is None:
            raise UserError(
                f"no control plane runs on {state.path}: start a mesh with weft up DIR, or name "
                "the state directory of a control plane with --state-dir"
            )
        return cls(addresses.address, state.root_certificate, state.admin_token)

    @classmethod
    def connect(cls, address: str, roots: str | Path, token: str) -> Management:
        """address: host:port of the port that takes tokens. roots: the file with its trust bundle
        (STATE/root.pem). token: STATE/admin.token."""
        return cls(address, Path(roots), token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close(None)

    async def join_token(self, namespace: str, service_account: str) -> str:
        """A token that proves spiffe://TD/ns/NAMESPACE/sa/SERVICE_ACCOUNT once."""
        return (await self.create_token(namespace, service_account)).token

    async def create_token(
        self,
        namespace: str,
        service_account: str,
        *,
        ttl_s: float | None = None,
        reusable: bool = False,
    ) -> TokenFacts:
        """ttl_s None: the control plane's default, one hour."""
        request = pb.CreateJoinTokenRequest(
            namespace=namespace, service_account=service_account, reusable=reusable
        )
        if ttl_s is not None:
            request.ttl.FromMicroseconds(round(ttl_s * 1e6))
        return _token(await self._call("CreateJoinToken", request, pb.JoinToken))

    async def tokens(self) -> list[TokenFacts]:
        """Those that are not over."""
        request = pb.ListJoinTokensRequest()
        answer = await self._call("ListJoinTokens", request, pb.ListJoinTokensResponse)
        return [_token(one) for one in answer.tokens]

    async def delete_token(self, digest: str) -> bool:
        """Whether there was one. digest: of its id 8 digits or more."""
        request = pb.DeleteJoinTokenRequest(id=digest)
        answer = await self._call("DeleteJoinToken", request, pb.DeleteJoinTokenResponse)
        return answer.existed

    async def register(self, manifest: str, source: str) -> Sequence[ObjectFacts]:
        """Puts in place what ends with this process; what translation says of it comes back."""
        request = pb.ApplyRequest(manifest=manifest, source=source, transient=True)
        answer = await self._call("Apply", request, pb.ApplyResponse)
        return [_object(status) for status in answer.statuses]

    async def apply(
        self, texts: Mapping[str, str], *, dry_run: bool = False, wait_s: float | None = None
    ) -> AppliedFacts:
        """Puts in place all that the texts hold, or nothing. texts: YAML by the names that
        positions begin with. wait_s: how long to wait for the proxies."""
        manifests = [pb.Manifest(text=text, source=source) for source, text in texts.items()]
        request = pb.ApplyRequest(manifests=manifests, dry_run=dry_run)
        timeout_s = _set_wait(request, wait_s)
        answer = await self._call("Apply", request, pb.ApplyResponse, timeout_s)
        changes = ((one.kind, one.namespace, one.name, one.change) for one in answer.objects)
        rollout = _rollout(answer.rollout) if answer.HasField("rollout") else None
        return AppliedFacts(tuple(map(_object, answer.statuses)), tuple(changes), rollout)

    async def list_objects(
        self,
        kind: str,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        *,
        manifests: bool = False,
    ) -> list[StoredFacts]:
        """Those in force that are asked for; '' is any. manifests: with their texts."""
        request = pb.ListRequest(
            kind=kind, namespace=namespace, name=name, labels=labels, manifests=manifests
        )
        answer = await self._call("List", request, pb.ListResponse, CHANGE_TIMEOUT_S)
        return [_stored(one) for one in answer.objects]

    async def proxies(self) -> list[SyncFacts]:
        """Every connected proxy, with what it was sent and has acknowledged."""
        answer = await self._call("ListProxies", pb.ListProxiesRequest(), pb.ListProxiesResponse)
        return [_sync(one) for one in answer.proxies]

    async def watch(
        self, kind: str, namespace: str, name: str, labels: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, StoredFacts | None]]:
        """What `list_objects` answers, 'added' each, then 'synced' and None, then what becomes of
        it: 'added', 'modified', 'deleted'. Until the control plane ends; then `Unavailable`."""
        await self._follow_roots()
        method: Any = self._channel.unary_stream(
            "/weft.v1.Management/Watch",
            request_serializer=pb.ListRequest.SerializeToString,
            response_deserializer=pb.WatchEvent.FromString,
        )
        request = pb.ListRequest(kind=kind, namespace=namespace, name=name, labels=labels)
        try:
            async for event in method(request, metadata=self._metadata):
                found = _stored(event.object) if event.HasField("object") else None
                yield event.type, found
        except grpc.aio.AioRpcError as error:
            raise _told("Watch", error) from error
        raise Unavailable("the control plane has ended the watch")

    async def delete(
        self, kind: str, namespace: str, name: str, *, wait_s: float | None = None
    ) -> DeletedFacts:
        """Of what was applied. wait_s: how long to wait for the proxies."""
        request = pb.DeleteRequest(kind=kind, namespace=namespace, name=name)
        timeout_s = _set_wait(request, wait_s)
        answer = await self._call("Delete", request, pb.DeleteResponse, timeout_s)
        rollout = _rollout(answer.rollout) if answer.HasField("rollout") else None
        return DeletedFacts(answer.existed, rollout)

    async def status(self) -> MeshFacts:
        """The state of the mesh now."""
        return _facts(await self._call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus))

    async def _call(
        self,
        name: str,
        request: Message,
        answer: type[Answer],
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        await self._follow_roots()
        method = self._channel.unary_unary(
            f"/weft.v1.Management/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            reply: Answer = await method(request, metadata=self._metadata, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _told(name, error) from error
        return reply


def _set_wait(request: pb.ApplyRequest | pb.DeleteRequest, wait_s: float | None) -> float:
    """How long the call may take."""
    if wait_s is not None:
        request.wait.FromMicroseconds(round(wait_s * 1e6))
    return CHANGE_TIMEOUT_S + (wait_s or 0.0)


def _told(name: str, error: grpc.aio.AioRpcError) -> UserError:
    """The failure of a call, for the user."""
    trailers: Any = error.trailing_metadata() or ()
    if STORE_AWAY in tuple(trailers):
        return Unavailable(str(error.details()))
    if error.code() in _AWAY:
        return Unavailable(f"the control plane does not answer ({error.details()})")
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:  # it says what is wrong with our words
        return UserError(str(error.details()))
    return UserError(f"the control plane refused {name}: {error.details()}")


def _facts(status: pb.MeshStatus) -> MeshFacts:
    services = (
        ServiceFacts(
            *(one.hostname, one.namespace, one.endpoints_total, one.endpoints_healthy),
            *(one.requests, one.errors),
        )
        for one in status.services
    )
    return MeshFacts(
        version=status.version,
        services=tuple(services),
        proxies=tuple(_proxy(one) for one in status.proxies),
        objects=tuple(_object(one) for one in status.objects),
    )


def _proxy(status: pb.ProxyStatus) -> ProxyFacts:
    pushed = status.last_push_at.ToMicroseconds() / 1e6 if status.HasField("last_push_at") else 0.0
    return ProxyFacts(
        workload=status.workload,
        namespace=status.namespace,
        identity=status.identity,
        user_agent=status.user_agent,
        synced=status.synced,
        last_push_at=pushed,
        nacks=tuple(nack.message for nack in status.nacks),
        left_out=tuple(status.left_out),
    )


def _object(status: pb.ObjectStatus) -> ObjectFacts:
    said = (status.object, status.severity, status.message, status.position, status.code)
    return ObjectFacts(*said)


def _rollout(rollout: pb.Rollout) -> RolloutFacts:
    refused = tuple((one.node_id, one.message) for one in rollout.refused)
    return RolloutFacts(rollout.concerned, rollout.live, refused, rollout.over)


def _stored(one: pb.StoredObject) -> StoredFacts:
    return StoredFacts(
        kind=one.kind,
        namespace=one.namespace,
        name=one.name,
        source=one.source,
        position=one.position,
        manifest=one.manifest,
        statuses=tuple(map(_object, one.statuses)),
    )


def _token(one: pb.JoinToken) -> TokenFacts:
    ends_at = one.expires_at.ToMicroseconds() / 1e6
    return TokenFacts(one.token, one.id, one.identity, ends_at, one.reusable, one.spent)


def _sync(one: pb.Proxy) -> SyncFacts:
    types = (
        TypeFacts(each.type_url, each.sent_version, each.acked_version, each.resources)
        for each in one.types
    )
    return SyncFacts(one.status.node_id, _proxy(one.status), one.variant, tuple(types))
