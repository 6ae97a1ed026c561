"""istio.v1.auth.IstioCertificateService: a certificate for whoever proves an identity.

The identity comes from the caller's credentials; of the CSR only the key is used. istiod's rules:
UNAUTHENTICATED without proof, INVALID_ARGUMENT for a CSR that is not acceptable, one certificate
per element of the response, leaf first and root last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import grpc

from certs.authority import Authority
from certs.csr import read_csr
from certs.errors import CertificateError
from certs.keys import PublicKey, public_key_der
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, certificate_to_pem
from controlplane.ca.authenticate import Authenticator, Caller, Unauthenticated
from controlplane.ca.tokens import JoinTokens, Refusal
from protos.gen.istio.ca_pb2 import IstioCertificateRequest as Request
from protos.gen.istio.ca_pb2 import IstioCertificateResponse as Response

log = logging.getLogger("weft.controlplane.ca")

SERVICE = "istio.v1.auth.IstioCertificateService"
MIN_TTL_S = 60
# istiod's default and ceiling for workloads.
MAX_TTL_S = 24 * 3600
# Request metadata by which istiod would issue something else than the caller's own certificate.
_UNSUPPORTED_METADATA = ("ImpersonatedIdentity", "CertSigner")

Context: TypeAlias = "grpc.aio.ServicerContext[Request, Response]"


class CertificateService:
    """`server.add_generic_rpc_handlers((service.handler(),))` on a grpc.aio server."""

    def __init__(
        self,
        authority: Authority,
        authenticator: Authenticator,
        tokens: JoinTokens,
        *,
        default_ttl_s: int = MAX_TTL_S,
        max_ttl_s: int = MAX_TTL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authority = authority
        self._authenticator = authenticator
        self._tokens = tokens
        self._default_ttl_s = default_ttl_s
        self._max_ttl_s = max_ttl_s
        self._clock = clock

    def handler(self) -> grpc.GenericRpcHandler[Request, Response]:
        """What to add to a grpc.aio server; the same one may serve several ports."""
        create = grpc.unary_unary_rpc_method_handler(
            self.CreateCertificate, Request.FromString, Response.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": create})

    async def CreateCertificate(self, request: Request, context: Context) -> Response:
        now = self._clock()
        caller = self._authenticator.authenticate_for_certificate(context, now)
        if isinstance(caller, Unauthenticated):
            return await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, caller.reason)
        try:
            ttl_s = self._ttl_s(request)
            key = read_csr(request.csr.encode())
        except CertificateError as error:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        identity = await self._identity(caller, key, now, context)
        chain = await self._sign(key, identity, ttl_s, now, context)
        log.info(
            "issued certificate serial=%x identity=%s how=%s ttl_s=%d peer=%s",
            chain[0].serial_number,
            identity,
            caller.how,
            ttl_s,
            context.peer(),
        )
        return Response(cert_chain=map(certificate_to_pem, chain))

    def _ttl_s(self, request: Request) -> int:
        """The validity to issue; CertificateError for requests that mean something else."""
        for name in _UNSUPPORTED_METADATA:
            if name in request.metadata.fields:
                raise CertificateError(
                    f"metadata {name} is not supported: certificates are "
                    "issued for the caller's own identity, by the mesh's own root"
                )
        wanted_s = request.validity_duration
        if wanted_s < 0:
            raise CertificateError(f"validity_duration of {wanted_s} s is negative")
        return max(MIN_TTL_S, min(wanted_s or self._default_ttl_s, self._max_ttl_s))

    async def _identity(
        self, caller: Caller, key: PublicKey, now: float, context: Context
    ) -> SpiffeId:
        """The caller's identity; a join token is spent on this key. Aborts the call otherwise."""
        if caller.identity is None:
            return await _refuse(
                context,
                grpc.StatusCode.PERMISSION_DENIED,
                "the administrator's token stands for no workload: use a join token",
            )
        if not caller.join_token:
            return caller.identity
        try:
            # In a thread: it waits for the disk.
            spent = await asyncio.to_thread(
                self._tokens.spend, caller.join_token, public_key_der(key), now
            )
        except OSError as error:
            log.error("join token cannot be marked as used: %s", error)
            return await _refuse(
                context, grpc.StatusCode.UNAVAILABLE, "the token store cannot be written now"
            )
        if isinstance(spent, Refusal):
            return await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, spent.value)
        return spent

    async def _sign(
        self, key: PublicKey, identity: SpiffeId, ttl_s: int, now: float, context: Context
    ) -> tuple[Certificate, ...]:
        try:
            return self._authority.sign(key, identity, ttl_s, now)
        except CertificateError as error:
            # The request was in order; what fails here is the authority, e.g. an expired root.
            log.error("cannot sign for identity=%s: %s", identity, error)
            return await _refuse(context, grpc.StatusCode.INTERNAL, f"cannot sign: {error}")


async def _refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    log.warning("refused certificate peer=%s code=%s: %s", context.peer(), code.name, reason)
    await context.abort(code, reason)
