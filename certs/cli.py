"""What `weft ca show --state-dir DIR` prints: the root, its trust domain and its end.

Only the text; the command itself is the front door's.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes

from certs.store import load_store
from certs.x509 import Certificate, spiffe_id, validity


def show(state_dir: Path, now: float, passphrase: bytes | None = None) -> str:
    """A paragraph per root of the bundle, the signing one marked. CertificateError as the store."""
    stored = load_store(state_dir, now, passphrase)
    return "\n\n".join(
        _describe(root, now, signing=root == stored.authority.certificate)
        for root in stored.bundle.roots
    )


def _describe(root: Certificate, now: float, *, signing: bool) -> str:
    days_left = int((validity(root)[1] - now) // 86400)
    return "\n".join(
        (
            f"subject:      {root.subject.rfc4514_string()}",
            f"trust domain: {spiffe_id(root).trust_domain}",
            f"expires:      {root.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC ({days_left} days)",
            f"sha256:       {root.fingerprint(hashes.SHA256()).hex(':')}",
            f"signs:        {'yes' if signing else 'no, trusted only'}",
        )
    )
