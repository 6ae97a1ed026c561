"""SPIFFE IDs: `spiffe://<trust domain>/<path>`, parsed strictly and written back byte for byte.

Rules: SPIFFE-ID standard, sections 2.1 (trust domain), 2.2 (path) and 2.3 (maximum length). There
is no normalisation: an ID that is not in its one written form is refused, so that two IDs are equal
exactly when their texts are. Knows nothing of certificates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from certs.errors import CertificateError

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """An identity; `path` is '' (the trust domain itself) or begins with a slash.

    Checked on construction: whoever holds one holds a valid one. CertificateError otherwise.
    """

    trust_domain: str
    path: str = ""

    def __post_init__(self) -> None:
        _check_trust_domain(self.trust_domain)
        _check_path(self.path)
        # 2.3: all characters are ASCII by now, so characters are bytes.
        if len(SCHEME) + len(self.trust_domain) + len(self.path) > MAX_ID_BYTES:
            raise CertificateError(f"SPIFFE ID is longer than {MAX_ID_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Reads `spiffe://trust.domain/path`; CertificateError says what is wrong with it."""
        if not text.startswith(SCHEME):
            raise CertificateError(f"SPIFFE ID {_shown(text)} does not begin with {SCHEME}")
        rest = text[len(SCHEME) :]
        trust_domain, slash, path = rest.partition("/")
        return cls(trust_domain, slash + path)

    @classmethod
    def workload(cls, trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
        """Istio's form of a workload's identity: `spiffe://TD/ns/NAMESPACE/sa/ACCOUNT`."""
        for what, value in (("namespace", namespace), ("service account", service_account)):
            if "/" in value or not value:
                raise CertificateError(f"{what} {_shown(value)} is not one SPIFFE path segment")
        return cls(trust_domain, f"/ns/{namespace}/sa/{service_account}")

    @property
    def namespace(self) -> str:
        """The namespace of an ID in Istio's form; '' for any other."""
        return self._istio_part(2)

    @property
    def service_account(self) -> str:
        """The service account of an ID in Istio's form; '' for any other."""
        return self._istio_part(4)

    def _istio_part(self, index: int) -> str:
        parts = self.path.split("/")
        if len(parts) == 5 and parts[1] == "ns" and parts[3] == "sa":
            return parts[index]
        return ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"


def _check_trust_domain(name: str) -> None:
    if not name:
        raise CertificateError("trust domain is missing")
    if not _TRUST_DOMAIN.fullmatch(name):
        raise CertificateError(
            f"trust domain {_shown(name)} may hold only lowercase letters, digits, '.', '-', '_'"
        )
    if len(name) > MAX_TRUST_DOMAIN_BYTES:
        raise CertificateError(f"trust domain is longer than {MAX_TRUST_DOMAIN_BYTES} bytes")


def _check_path(path: str) -> None:
    if not path:
        return
    if not path.startswith("/"):
        raise CertificateError(f"SPIFFE path {_shown(path)} does not begin with '/'")
    if path.endswith("/"):
        raise CertificateError(f"SPIFFE path {_shown(path)} must not end with '/'")
    for segment in path[1:].split("/"):
        if not segment:
            raise CertificateError(f"SPIFFE path {_shown(path)} has an empty segment")
        if segment in (".", ".."):
            raise CertificateError(f"SPIFFE path {_shown(path)} has a dot segment")
        if not _SEGMENT.fullmatch(segment):
            raise CertificateError(
                f"SPIFFE path segment {_shown(segment)} may hold only letters, digits, "
                "'.', '-', '_'"
            )


def _shown(text: str) -> str:
    """Foreign text in a message: quoted, escaped and short."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
