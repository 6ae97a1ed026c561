"""Certificates from another CSR service: istiod, istio-csr, or whatever speaks Istio's protocol.

The workload's own service-account token goes along with its CSR, since it is by that token that the
foreign service knows whom to certify; we never stand for anybody. What comes back is believed only
if it is for the same key and identity and leads to the roots in our file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio

from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.files import version_of
from certs.issuance import Issuance, issuance_of
from certs.path import check_path_at, check_signed
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_svid, is_issued_by, matches_key
from controlplane.ca.issuer import IssuerRefusedError, IssuerUnavailableError, Order
from protos.frozen import frozen
from protos.gen.istio.ca_pb2 import IstioCertificateRequest as Request
from protos.gen.istio.ca_pb2 import IstioCertificateResponse as Response

log = logging.getLogger("weft.controlplane.ca")

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
TIMEOUT_S = 10.0
# What lies in the order: asking again would change nothing.
_NO = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


@frozen
class ForeignOptions:
    """address: HOST:PORT. roots: PEM file that verifies the service and all that it issues; read
    again when it changes. server_name: in its certificate, '' for the host of the address."""

    address: str
    roots: Path
    server_name: str = ""


class ForeignIssuer:
    """`close` it at the end. CertificateError when made if the file of roots is unusable."""

    def __init__(
        self,
        options: ForeignOptions,
        why_not: Callable[[SpiffeId], str] = lambda identity: "",
    ) -> None:
        """why_not: why nobody may be an identity."""
        self._options = options
        self.why_not = why_not
        self.bundle = TrustBundle.load(options.roots)
        self._version = version_of(options.roots)
        self._channel = self._dial()

    def _dial(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.bundle.to_pem())
        name = self._options.server_name
        options = (("grpc.ssl_target_name_override", name),) if name else ()
        return grpc.aio.secure_channel(self._options.address, credentials, options=options)

    async def close(self) -> None:
        await self._channel.close(0)

    async def refresh(self) -> bool:
        """Takes the roots again if their file has changed. True: they are others now."""
        version = version_of(self._options.roots)
        if version == self._version:
            return False
        self._version = version
        try:
            bundle = TrustBundle.load(self._options.roots)
        except CertificateError as error:
            log.error("the roots of the foreign issuer stay as they were: %s", error)
            return False
        if bundle == self.bundle:
            return False
        old, self.bundle = self._channel, bundle
        self._channel = self._dial()
        await old.close(TIMEOUT_S)
        return True

    async def issue(self, order: Order, now: float) -> Issuance:
        address = self._options.address
        if reason := self.why_not(order.identity):
            raise IssuerRefusedError(reason)
        if not order.bearer:
            raise IssuerRefusedError(
                f"certificates come from {address} here, which knows service-account tokens alone: "
                "present one, also to renew"
            )
        began_s = time.monotonic()
        call = self._channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)
        try:
            response = await call(
                Request(csr=order.csr_pem, validity_duration=order.ttl_s),
                metadata=(("authorization", f"Bearer {order.bearer}"),),
                timeout=TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            said = f"{address} says {error.code().name}: {(error.details() or '')[:300]}"
            if error.code() in _NO:
                raise IssuerRefusedError(said) from error
            raise IssuerUnavailableError(said) from error
        # Not every CA dates back: what it has just signed begins after we have asked.
        now += time.monotonic() - began_s
        return issuance_of(self._checked(order, "".join(response.cert_chain), now))

    def _checked(self, order: Order, pem: str, now: float) -> tuple[Certificate, ...]:
        """The chain, root last. CertificateError if it is not what was ordered."""
        what = f"the answer of {self._options.address}"
        leaf, *above = chain_from_pem(pem.encode(), what)
        if not matches_key(leaf, order.key):
            raise CertificateError(f"{what} is for another key")
        # istiod ends with all roots that it trusts; one of ours must sign, whatever stands there.
        path = (leaf, *(one for one in above if not is_issued_by(one, one)))
        identity = check_svid(path)
        if identity != order.identity:
            raise CertificateError(f"{what} is for {identity}, not for {order.identity}")
        roots = self.bundle.roots
        check_signed(path, roots)
        check_path_at(path, now)
        if path[-1] in roots:
            return path
        root = next(one for one in roots if is_issued_by(path[-1], one))
        check_path_at((root,), now)
        return (*path, root)
