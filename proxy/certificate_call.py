"""One CreateCertificate of Istio's protocol: a key goes out in a CSR, an SVID comes back.

It knows neither when to ask nor over which connection; what comes back is believed only if it is
for the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from certs.csr import make_csr
from certs.errors import CertificateError
from certs.keys import PrivateKey
from certs.spiffe import SpiffeId
from certs.x509 import (
    Certificate,
    chain_from_pem,
    check_chain_order,
    check_svid,
    check_valid_at,
    is_issued_by,
    matches_key,
    validity,
)
from protos.gen.istio import ca_pb2
from proxy.http.grpc import RpcError
from proxy.rpc.call import Call

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@dataclass(frozen=True, slots=True)
class Svid:
    """A key and its certificates, leaf first, without the root."""

    key: PrivateKey
    chain: tuple[Certificate, ...]

    @property
    def spiffe_id(self) -> SpiffeId:
        return check_svid(self.chain)

    @property
    def valid(self) -> tuple[float, float]:
        """(not before, not after) in Unix seconds."""
        return validity(self.chain[0])


class NotNowError(CertificateError):
    """The CA says when it wants to be asked again: by no other way, and not sooner."""

    def __init__(self, reason: str, after_s: float) -> None:
        super().__init__(reason)
        self.after_s = after_s


async def request_certificate(
    address: str,
    key: PrivateKey,
    identity: SpiffeId | None,
    beginning: Coroutine[Any, Any, Call],
    timeout_s: float,
) -> list[str]:
    """The PEM blocks that the CA at `address` answers on a call that is about to begin. identity:
    what the CSR says. CertificateError says whatever went wrong, NotNowError when to come again."""
    request = ca_pb2.IstioCertificateRequest(csr=make_csr(key, identity).decode())
    try:
        async with asyncio.timeout(timeout_s):
            body = await _answer(await beginning, request.SerializeToString())
    except TimeoutError:
        raise CertificateError(f"{address}: DEADLINE_EXCEEDED") from None
    except RpcError as error:
        if error.pushback_s is not None:
            raise NotNowError(f"{address}: {error}", error.pushback_s) from None
        raise CertificateError(f"{address}: {error}") from None
    try:
        return list(ca_pb2.IstioCertificateResponse.FromString(body).cert_chain)
    except DecodeError:
        raise CertificateError(f"{address}: the answer is not what was asked for") from None


async def _answer(call: Call, request: bytes) -> bytes:
    try:
        await call.send(request, end=True)
        body = await call.receive()
        if body is None:
            raise RpcError("INTERNAL", "the CA ended the call without an answer")
        return body
    finally:
        call.close()


def checked_svid(key: PrivateKey, pems: Sequence[str], now: float) -> Svid:
    """The SVID in a CA's answer, leaf first; roots at its end (istiod's are all that it trusts) are
    left out."""
    chain = chain_from_pem("\n".join(pems).encode(), "certificate of the CA")
    roots: list[Certificate] = []
    while len(chain) > 1 and chain[-1].issuer == chain[-1].subject:
        roots.append(chain[-1])
        chain = chain[:-1]
    check_chain_order(chain)
    if roots and not any(is_issued_by(chain[-1], root) for root in roots):
        raise CertificateError("certificate of the CA is not signed by the root that came with it")
    check_svid(chain)
    check_valid_at(chain[0], now)
    if not matches_key(chain[0], key.public_key()):
        raise CertificateError("the certificate is not for our key")
    return Svid(key, chain)
