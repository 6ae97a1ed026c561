"""The part of Istio's MeshConfig that says which other authorities are believed."""

from __future__ import annotations

from collections.abc import Iterator

from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.x509 import Certificate
from controlplane.kinds.decoders import list_of, text
from controlplane.kinds.federation import trust_domain, url
from controlplane.kinds.schema import Record, optional, record


@record
class CertificateData(Record):
    """Roots in PEM, or where a SPIFFE bundle is fetched over Web PKI. trust_domains: whose they
    are; without any the mesh's own."""

    pem: str = optional(text, "")
    spiffe_bundle_url: str = optional(url, "")
    cert_signers: tuple[str, ...] = optional(list_of(text), ())
    trust_domains: tuple[str, ...] = optional(list_of(trust_domain), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if bool(self.pem) == bool(self.spiffe_bundle_url):
            yield "", "expected one of pem and spiffeBundleUrl"
        try:
            self.roots()
        except CertificateError as error:
            yield "pem", str(error)

    def roots(self) -> tuple[Certificate, ...]:
        """Of `pem`. Raises CertificateError."""
        return TrustBundle.from_pem(self.pem.encode(), "pem").roots if self.pem else ()
