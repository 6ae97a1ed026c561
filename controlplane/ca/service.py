"""istio.v1.auth.IstioCertificateService: a certificate for whoever proves an identity.

The identity comes from the caller's credentials; of the CSR only the key is used, and one that
asks for another's identity is refused. istiod's rules: UNAUTHENTICATED without proof,
INVALID_ARGUMENT for a CSR that is not acceptable, one certificate per element of the response, leaf
first and root last. Whatever is refused is logged with its reason, counted, and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import grpc

from certs.csr import CertificateRequest, CsrRefused, open_csr
from certs.errors import CertificateError
from certs.issuance import Issuance
from certs.keys import public_key_der
from certs.spiffe import SpiffeId
from controlplane.ca.authenticate import Authenticator, refused
from controlplane.ca.caller import Caller, Unauthenticated
from controlplane.ca.issuer import Issuer, IssuerRefusedError, IssuerUnavailableError, Order
from controlplane.ca.limits import DEFAULT_LIMITS, IssueLimits, IssueRates
from controlplane.ca.metrics import CaMetrics
from controlplane.ca.records import asked_by
from controlplane.ca.refuse import RefusalDesk, RefusedError, slow_down
from controlplane.ca.tokens import JoinTokens, Refusal
from controlplane.rpc.context import Context
from controlplane.rpc.peer import source_of
from protos.gen.istio.ca_pb2 import IstioCertificateRequest as Request
from protos.gen.istio.ca_pb2 import IstioCertificateResponse as Response

log = logging.getLogger("weft.controlplane.ca")

SERVICE = "istio.v1.auth.IstioCertificateService"
MIN_TTL_S = 60
# istiod's default and ceiling for workloads.
MAX_TTL_S = 24 * 3600
RETRY_S = 5.0
"""After how long a caller should ask again when something that we need is away."""
# Request metadata by which istiod would issue something else than the caller's own certificate.
_UNSUPPORTED_METADATA = ("ImpersonatedIdentity", "CertSigner")


Record = Callable[[Issuance, SpiffeId, str, float], None]
"""(what, identity, on whose word, Unix seconds)"""


class CertificateService:
    """`server.add_generic_rpc_handlers((service.handler(),))` on a grpc.aio server.

    tick gives monotonic seconds, for the limits: a clock that is set must lock nobody out.
    """

    def __init__(
        self,
        issuer: Issuer,
        authenticator: Authenticator,
        tokens: JoinTokens,
        metrics: CaMetrics,
        *,
        record: Record = lambda what, identity, asked, now: None,
        limits: IssueLimits = DEFAULT_LIMITS,
        default_ttl_s: int = MAX_TTL_S,
        max_ttl_s: int = MAX_TTL_S,
        clock: Callable[[], float] = time.time,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._authenticator = authenticator
        self._tokens = tokens
        self._metrics = metrics
        self._desk = RefusalDesk(metrics)
        self._record = record
        self._rates = IssueRates(limits)
        self._default_ttl_s = default_ttl_s
        self._max_ttl_s = max_ttl_s
        self._clock = clock
        self._tick = tick

    def handler(self) -> grpc.GenericRpcHandler[Request, Response]:
        """What to add to a grpc.aio server; the same one may serve several ports."""
        create = grpc.unary_unary_rpc_method_handler(
            self.CreateCertificate, Request.FromString, Response.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": create})

    async def CreateCertificate(self, request: Request, context: Context) -> Response:
        self._metrics.requested()
        peer = context.peer()
        source = source_of(peer)
        try:
            if wait_s := self._rates.admit_source(source, self._tick()):
                raise slow_down(f"from {source}", wait_s)
            issuance = await self._create(request, context, peer)
        except RefusedError as error:
            await self._desk.refuse(context, error, source, self._tick())
        self._metrics.issued()
        return Response(cert_chain=issuance.pems)

    async def _create(self, request: Request, context: Context, peer: str) -> Issuance:
        """The checks, cheapest first; a join token is spent when all others have passed."""
        now = self._clock()
        caller = await self._caller(context, now)
        ttl_s = self._ttl_s(request)
        csr = _open(request)
        identity = _identity(caller, csr)
        if wait_s := self._rates.admit_identity(str(identity), self._tick()):
            raise slow_down(f"for {identity}, or in all", wait_s)
        if caller.join_token:
            identity = await self._spend(caller.join_token, csr, now)
            context.believe(str(identity))
        order = Order(csr.key, identity, ttl_s, request.csr, caller.bearer)
        issuance = await self._issue(order, now)
        asked = asked_by(caller, peer, request)
        self._record(issuance, identity, asked, now)
        log.info(
            "issued certificate ttl_s=%d serial=%x identity=%s how=%s",
            ttl_s,
            issuance.serial,
            identity,
            asked,
        )
        return issuance

    async def _caller(self, context: Context, now: float) -> Caller:
        caller = await self._authenticator.authenticate_for_certificate(context, now)
        if isinstance(caller, Caller):
            return caller
        if caller.temporary:
            raise _away(caller.kind, caller.reason)
        raise _unauthenticated(caller)

    def _ttl_s(self, request: Request) -> int:
        """The validity to issue; refuses requests that mean something else."""
        for name in _UNSUPPORTED_METADATA if request.HasField("metadata") else ():
            if name in request.metadata.fields:
                reason = (
                    f"metadata {name} is not supported: certificates are "
                    "issued for the caller's own identity, by the mesh's own root"
                )
                raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "over_reach", reason)
        wanted_s = request.validity_duration
        if wanted_s < 0:
            reason = f"validity_duration of {wanted_s} s is negative"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "validity", reason)
        return max(
            min(MIN_TTL_S, self._default_ttl_s),
            min(wanted_s or self._default_ttl_s, self._max_ttl_s),
        )

    async def _spend(self, token: str, csr: CertificateRequest, now: float) -> SpiffeId:
        try:
            # In a thread: it waits for the disk.
            spent = await asyncio.to_thread(self._tokens.spend, token, public_key_der(csr.key), now)
        except OSError as error:
            log.error("join token cannot be marked as used: %s", error)
            raise _away("token_store", "the token store cannot be written now") from error
        if isinstance(spent, Refusal):
            raise _unauthenticated(refused(spent))
        return spent

    async def _issue(self, order: Order, now: float) -> Issuance:
        try:
            return await self._issuer.issue(order, now)
        except IssuerUnavailableError as error:
            log.error("issuer is away: %s", error)
            raise _away("issuer_unavailable", f"cannot sign now: {error}") from error
        except IssuerRefusedError as error:
            raise RefusedError(
                grpc.StatusCode.PERMISSION_DENIED, "issuer_refused", str(error)
            ) from error
        except CertificateError as error:
            # The request was in order; what fails here is the authority, e.g. an expired root.
            log.error("cannot sign for identity=%s: %s", order.identity, error)
            raise RefusedError(
                grpc.StatusCode.INTERNAL, "cannot_sign", f"cannot sign: {error}"
            ) from error


def _open(request: Request) -> CertificateRequest:
    try:
        return open_csr(request.csr.encode())
    except CsrRefused as error:
        raise RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f"csr_{error.reason}", str(error)
        ) from error


def _identity(caller: Caller, csr: CertificateRequest) -> SpiffeId:
    """The caller's own identity, which must be all that the CSR asks for."""
    if caller.identity is None:
        reason = "the administrator's token stands for no workload: use a join token"
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "no_workload", reason)
    try:
        csr.check_identity(caller.identity)
    except CsrRefused as error:
        raise RefusedError(
            grpc.StatusCode.PERMISSION_DENIED, f"csr_{error.reason}", str(error)
        ) from error
    return caller.identity


def _unauthenticated(nobody: Unauthenticated) -> RefusedError:
    return RefusedError(grpc.StatusCode.UNAUTHENTICATED, nobody.kind, nobody.reason)


def _away(kind: str, reason: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.UNAVAILABLE, kind, reason, RETRY_S)
