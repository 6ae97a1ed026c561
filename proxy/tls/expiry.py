"""Gauges that say when certificates end, under Envoy's names: of a listener or a cluster,
`ssl.certificate.NAME.expiration_unix_time_seconds`.

NAME is the secret's, or one for all that have none (tried with Envoy 1.40). Of a chain the leaf
counts, of roots the first to end, and of the SPIFFE validator each root by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from cryptography import x509

from proxy.config.model import CommonTls, DataSource, SdsRef, Secret, ValidationContext
from proxy.stats import Stats

UNNAMED = "unnamed_cert_e3b0c442"
UNNAMED_CA = "unnamed_ca_cert_e3b0c442"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def tell(stats: Stats, prefix: str, tls: CommonTls, secrets: Mapping[str, Secret]) -> None:
    """prefix: 'listener.127.0.0.1_80.', 'cluster.x.'."""
    for name, end_s in _ends(tls, secrets):
        gauge = stats.gauge(f"{prefix}ssl.certificate.{name}.expiration_unix_time_seconds")
        gauge.value = end_s


def _ends(tls: CommonTls, secrets: Mapping[str, Secret]) -> Iterator[tuple[str, int]]:
    for one in tls.certificates:
        yield from ((UNNAMED, end_s) for end_s in _ends_of(one.chain)[:1])
    shown = _secret(tls.certificate_sds, secrets)
    if shown is not None and shown.certificate is not None:
        yield from ((shown.name, end_s) for end_s in _ends_of(shown.certificate.chain)[:1])
    yield from _trusted("", tls.validation)
    trust = _secret(tls.validation_sds, secrets)
    if trust is not None:
        yield from _trusted(trust.name, trust.validation)


def _secret(reference: SdsRef | None, secrets: Mapping[str, Secret]) -> Secret | None:
    return secrets.get(reference.name) if reference is not None else None


def _trusted(name: str, context: ValidationContext | None) -> Iterator[tuple[str, int]]:
    if context is None:
        return
    if context.trust_domains:
        every = [end_s for domain in context.trust_domains for end_s in _ends_of(domain.bundle)]
        yield from ((f"{name or 'unnamed_ca_cert'}_{at}", end_s) for at, end_s in enumerate(every))
    elif context.trusted_ca is not None and (ends := _ends_of(context.trusted_ca)):
        yield name or UNNAMED_CA, min(ends)


def _ends_of(source: DataSource) -> tuple[int, ...]:
    return _read(source.data)


@lru_cache(maxsize=256)
def _read(pem: bytes) -> tuple[int, ...]:
    """Of each certificate, Unix seconds. All clusters of a mesh have the same ones."""
    found = []
    for block in _CERTIFICATE.findall(pem):
        try:
            certificate = x509.load_pem_x509_certificate(block)
        except ValueError:  # whoever needs it says so
            continue
        found.append(int(certificate.not_valid_after_utc.timestamp()))
    return tuple(found)
