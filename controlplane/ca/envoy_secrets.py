"""Certificates for plain Envoys, which have no agent: the content of their SDS secret `default`.

One per identity, shared by its replicas, renewed at half life or when another certificate issues.
The caller must have proven that the stream belongs to the identity; this room only remembers what
was issued.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from certs.spiffe import SpiffeId
from certs.x509 import Certificate
from controlplane.ca.issued import IssuedSecret, issue_secret
from controlplane.ca.live import Signer

log = logging.getLogger("weft.controlplane.ca")

DEFAULT_TTL_S = 24 * 3600.0
MAX_IDENTITIES = 10_000
ASKED_BY = "sds"

Record = Callable[[Certificate, SpiffeId, str, float], None]
"""Takes each new leaf, whose it is, how it was asked for and when: what is not in the issue log
can't be revoked with its identity."""


class EnvoySecrets:
    """Issued secrets by identity; at most MAX_IDENTITIES, the longest unrenewed goes first."""

    __slots__ = ("_issued", "_record", "_signer", "_ttl_s")

    def __init__(
        self,
        signer: Signer,
        ttl_s: float = DEFAULT_TTL_S,
        *,
        record: Record = lambda leaf, identity, asked, now: None,
    ) -> None:
        self._signer = signer
        self._ttl_s = ttl_s
        self._record = record
        self._issued: dict[SpiffeId, IssuedSecret] = {}

    def certificate(self, identity: SpiffeId, now: float) -> IssuedSecret:
        """The current secret; a new one from half life on. CertificateError as Authority.sign."""
        secret = self._issued.get(identity)
        if secret is None or secret.should_renew(now, self._signer.certificate):
            secret = issue_secret(self._signer, identity, self._ttl_s, now)
            self._record(secret.leaf, identity, ASKED_BY, now)
            self._remember(identity, secret)
            log.info("issued secret for identity=%s how=sds ttl_s=%d", identity, self._ttl_s)
        return secret

    def held(self, identity: SpiffeId) -> IssuedSecret | None:
        """What it was given last."""
        return self._issued.get(identity)

    def forget(self, identity: SpiffeId) -> None:
        """It gets another one when it is asked for next."""
        self._issued.pop(identity, None)

    def _remember(self, identity: SpiffeId, secret: IssuedSecret) -> None:
        self._issued.pop(identity, None)
        if len(self._issued) >= MAX_IDENTITIES:
            del self._issued[next(iter(self._issued))]
        self._issued[identity] = secret
