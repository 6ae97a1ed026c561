"""Certificates that users bring for TLS, in Secrets: they end like others, and nobody renews them.

PURE. Only those that the configuration names are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from certs.x509 import Certificate, chain_from_pem, dns_sans, subject_of, validity
from controlplane.doctor.findings import Finding, Life
from controlplane.mesh.credentials import Credential


def look_at(credentials: Iterable[Credential], now: float) -> Iterator[Finding]:
    for one in credentials:
        where = f"Secret {one.namespace}/{one.name}"
        for certificate in chain_from_pem(one.chain) if one.chain else ():
            yield _judged(where, certificate, now, is_root=False)
        for root in chain_from_pem(one.roots) if one.roots else ():
            yield _judged(where, root, now, is_root=True)


def _judged(where: str, certificate: Certificate, now: float, *, is_root: bool) -> Finding:
    life = Life(*validity(certificate))
    severity, text = life.judge_root(now) if is_root else life.judge(now)
    name = subject_of(certificate) or ", ".join(dns_sans(certificate)) or "without a name"
    return Finding(
        severity,
        "credential",
        where,
        f"{name} {text}",
        "Gateways or DestinationRules that name it",
        "peers below it are refused" if is_root else "peers that it is shown to refuse it",
        f"{certificate.serial_number:x}",
        name,
        certificate.issuer.rfc4514_string(),
        life,
    )
