"""Join tokens as the management API makes, lists and deletes them. Whoever asks is known to be the
administrator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from certs.errors import CertificateError
from controlplane.api.encode import timestamp
from controlplane.ca.token_file import TokenRecord
from controlplane.ca.tokens import DEFAULT_TTL_S, JoinTokens, TooManyTokensError
from controlplane.rpc.context import Context
from protos.gen.weft.v1 import management_pb2 as pb


class TokenDesk:
    """In threads: what changes is written to a file."""

    __slots__ = ("_clock", "_tokens")

    def __init__(self, tokens: JoinTokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._clock = clock

    async def create(self, request: pb.CreateJoinTokenRequest, context: Context) -> pb.JoinToken:
        namespace = request.namespace or "default"
        account = request.service_account or "default"
        ttl_s = request.ttl.ToMicroseconds() / 1e6 if request.HasField("ttl") else DEFAULT_TTL_S
        facts = (namespace, account, ttl_s, request.reusable, self._clock())
        try:
            token = await asyncio.to_thread(self._tokens.create, *facts)
        except (CertificateError, TooManyTokensError, OSError) as error:
            await context.abort(*_refusal(error))
        return pb.JoinToken(
            token=token.token,
            identity=str(token.identity),
            expires_at=timestamp(token.expires_at),
            id=token.sha256,
            reusable=request.reusable,
        )

    def listed(self) -> pb.ListJoinTokensResponse:
        return pb.ListJoinTokensResponse(tokens=map(_shown, self._tokens.live(self._clock())))

    async def delete(
        self, request: pb.DeleteJoinTokenRequest, context: Context
    ) -> pb.DeleteJoinTokenResponse:
        try:
            existed = await asyncio.to_thread(self._tokens.delete, request.id, self._clock())
        except (CertificateError, OSError) as error:
            await context.abort(*_refusal(error))
        return pb.DeleteJoinTokenResponse(existed=existed)


def _shown(record: TokenRecord) -> pb.JoinToken:
    return pb.JoinToken(
        identity=record.identity,
        expires_at=timestamp(record.expires_at),
        id=record.sha256,
        reusable=record.reusable,
        spent=bool(record.key_sha256),
    )


def _refusal(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, TooManyTokensError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
    if isinstance(error, OSError):
        reason = f"the token store cannot be written: {error.strerror}"
        return grpc.StatusCode.UNAVAILABLE, reason
    return grpc.StatusCode.INVALID_ARGUMENT, str(error)
