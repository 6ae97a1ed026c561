"""The control plane's own serving certificate, and the credentials of its two gRPC ports.

The server asks for it at each new connection, so that it is renewed at half life, and follows the
authority and what is trusted, without a restart. Two ports: one for callers with a token, one that
demands an SVID.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_to_pem
from controlplane.ca.issued import IssuedSecret, issue_secret
from controlplane.ca.live import LiveAuthority, Signer
from controlplane.rpc.tls import Credentials

log = logging.getLogger("weft.controlplane.ca")

NAMESPACE = "weft-system"
SERVICE_ACCOUNT = "weft-controlplane"
# The name that clients verify, whatever address they dial.
SERVER_NAME = f"{SERVICE_ACCOUNT}.{NAMESPACE}.svc"
TTL_S = 24 * 3600.0


class ServingCertificate:
    """The current certificate of the server."""

    __slots__ = (
        "_clock",
        "_cross",
        "_dns_names",
        "_ip_addresses",
        "_secret",
        "_signer",
        "_ttl_s",
    )

    def __init__(
        self,
        signer: Signer,
        *,
        cross: Callable[[float], Sequence[Certificate]] = lambda now: (),
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
        ttl_s: float = TTL_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Further names come on top of localhost, 127.0.0.1 and SERVER_NAME. cross: the signer's
        root as a former one has signed it, for clients that were away and trust only that one."""
        self._signer = signer
        self._dns_names = tuple(dict.fromkeys(("localhost", SERVER_NAME, *dns_names)))
        self._ip_addresses = tuple(dict.fromkeys(("127.0.0.1", *ip_addresses)))
        self._ttl_s = ttl_s
        self._clock = clock
        self._cross = cross
        self._secret = self._issue(clock())

    @property
    def identity(self) -> SpiffeId:
        return SpiffeId.workload(self._signer.trust_domain, NAMESPACE, SERVICE_ACCOUNT)

    def current(self) -> IssuedSecret:
        """The certificate to serve now; on failure to renew, the old one, and an error logged."""
        now = self._clock()
        if self._secret.should_renew(now, self._signer.certificate):
            try:
                self._secret = self._issue(now)
            except CertificateError as error:
                log.error("serving certificate cannot be renewed: %s", error)
        return self._secret

    def _issue(self, now: float) -> IssuedSecret:
        secret = issue_secret(
            self._signer,
            self.identity,
            self._ttl_s,
            now,
            dns_names=self._dns_names,
            ip_addresses=self._ip_addresses,
        )
        return replace(secret, chain_pem=secret.chain_pem + chain_to_pem(self._cross(now)))


def tls_credentials(serving: ServingCertificate) -> Callable[[], Credentials]:
    """TLS without client certificates: callers prove themselves by bearer token."""
    return _credentials(serving, None)


def mtls_credentials(
    serving: ServingCertificate, authority: LiveAuthority
) -> Callable[[], Credentials]:
    """Mutual TLS: a client certificate that verifies against the bundle of now is demanded."""
    return _credentials(serving, authority)


def _credentials(
    serving: ServingCertificate, authority: LiveAuthority | None
) -> Callable[[], Credentials]:
    made_of: tuple[IssuedSecret, TrustBundle | None] | None = None
    made = Credentials(b"", b"")

    def current() -> Credentials:
        """The same object while nothing has changed."""
        nonlocal made_of, made
        now = serving.current(), authority.bundle if authority is not None else None
        if now != made_of:
            secret, bundle = made_of = now
            roots_pem = bundle.to_pem() if bundle is not None else b""
            made = Credentials(secret.key_pem, secret.chain_pem, roots_pem)
        return made

    return current
