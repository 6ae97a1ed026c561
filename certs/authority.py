"""The certificate authority of one trust domain: signs SVIDs with its root key.

It trusts its caller for who the subject is: the identity is an argument, never read from a CSR.
Knows nothing of files, networks or callers.
"""

from __future__ import annotations

from collections.abc import Sequence

from certs.bundle import TrustBundle
from certs.csr import read_csr
from certs.errors import CertificateError
from certs.keys import PrivateKey, PublicKey, generate_key
from certs.profiles import make_root, make_svid
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, check_authority, matches_key, spiffe_id


class Authority:
    """A root certificate and its key. CertificateError if they do not belong together."""

    __slots__ = ("_key", "certificate", "trust_domain")

    def __init__(self, certificate: Certificate, key: PrivateKey) -> None:
        check_authority(certificate, "root certificate")
        if not matches_key(certificate, key.public_key()):
            raise CertificateError("root certificate does not match the private key")
        self.certificate = certificate
        self._key = key
        self.trust_domain = spiffe_id(certificate).trust_domain

    @classmethod
    def create(cls, trust_domain: str, now: float, key: PrivateKey | None = None) -> Authority:
        """A new authority with a self-signed root; `now` is Unix seconds."""
        key = key or generate_key()
        return cls(make_root(key, trust_domain, now), key)

    @property
    def bundle(self) -> TrustBundle:
        """The trust bundle of this one root."""
        return TrustBundle((self.certificate,))

    def sign(
        self,
        subject: bytes | PublicKey,
        identity: SpiffeId,
        ttl_s: float,
        now: float,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> tuple[Certificate, ...]:
        """The chain of a new SVID, leaf first and root last, for a CSR (PEM) or a public key.

        Whatever names the CSR asks for are ignored. CertificateError: a CSR that `read_csr`
        refuses, an identity of another trust domain, a root that has expired.
        """
        if identity.trust_domain != self.trust_domain:
            raise CertificateError(
                f"identity {identity} is not of this authority's trust domain {self.trust_domain}"
            )
        key = read_csr(subject) if isinstance(subject, bytes) else subject
        leaf = make_svid(
            self.certificate,
            self._key,
            key,
            identity,
            ttl_s=ttl_s,
            now=now,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )
        return (leaf, self.certificate)
