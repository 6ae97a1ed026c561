"""The trust bundle: the set of root certificates that a trust domain's members are verified by.

More than one while a root is being replaced. Kept and handed on as PEM.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_public, write_public
from certs.x509 import Certificate, chain_from_pem, chain_to_pem, check_trust_anchor


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """At least one root, each once, in their order."""

    roots: tuple[Certificate, ...]

    def __post_init__(self) -> None:
        if not self.roots:
            raise CertificateError("trust bundle holds no certificate")

    @classmethod
    def from_pem(cls, pem: bytes, what: str = "trust bundle") -> TrustBundle:
        """CertificateError, beginning with `what`, if one of them is corrupt or may not sign."""
        roots = tuple(dict.fromkeys(chain_from_pem(pem, what)))
        for number, root in enumerate(roots, 1):
            name = f"certificate {number} of {what}"
            try:
                check_trust_anchor(root, name)
            except CertificateError as error:
                if what in str(error):
                    raise
                raise CertificateError(f"{name}: {error}") from error
        return cls(roots)

    @classmethod
    def load(cls, path: Path) -> TrustBundle:
        """Reads a PEM file; CertificateError names it."""
        return cls.from_pem(read_public(path), str(path))

    def to_pem(self) -> bytes:
        return chain_to_pem(self.roots)

    def save(self, path: Path) -> None:
        """Replaces the file atomically (mode 0644: there is nothing secret in it)."""
        write_public(path, self.to_pem())

    def union(self, other: TrustBundle) -> TrustBundle:
        """The roots of both, this one's first."""
        return TrustBundle(tuple(dict.fromkeys((*self.roots, *other.roots))))
