"""Who signs: the one interface behind which the mesh's own authority and foreign ones stand.

The caller has been proven and its CSR opened before an order is made. Knows no gRPC server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from certs.issuance import Issuance
from certs.keys import PublicKey
from certs.spiffe import SpiffeId
from controlplane.ca.live import WorkloadSigner
from protos.frozen import frozen


@frozen
class Order:
    """One certificate. csr_pem and bearer (the caller's own token, '' if it came by SVID) are for
    issuers that must convince somebody else."""

    key: PublicKey
    identity: SpiffeId
    ttl_s: int
    csr_pem: str = ""
    bearer: str = field(default="", repr=False)


class IssuerUnavailableError(Exception):
    """It can't be asked, or can't answer, now: the same order may succeed later."""


class IssuerRefusedError(Exception):
    """It was asked and said no, for a reason that lies in the order."""


class Issuer(Protocol):
    """issue: CertificateError: it cannot sign at all, e.g. since its root has expired."""

    async def issue(self, order: Order, now: float) -> Issuance: ...


class LocalIssuer:
    """The mesh's own authority, in this process. why_not: why nobody may be an identity."""

    def __init__(
        self, authority: WorkloadSigner, why_not: Callable[[SpiffeId], str] = lambda identity: ""
    ) -> None:
        self._authority = authority
        self._why_not = why_not

    async def issue(self, order: Order, now: float) -> Issuance:
        if reason := self._why_not(order.identity):
            raise IssuerRefusedError(reason)
        return self._authority.issue(order.key, order.identity, order.ttl_s, now)
