"""The certificates in force and what depends on each: read from the configuration. Pure; no key is
looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from certs.errors import CertificateError
from certs.x509 import (
    Certificate,
    chain_from_pem,
    dns_sans,
    fingerprint,
    subject_of,
    uri_sans,
    validity,
)
from proxy.config.model import Cluster, DataSource, Listener, Secret
from proxy.config.snapshot import Snapshot
from proxy.xds.needs import inline_secrets, secret_names

MAX_CERTIFICATES = 256
"""More are left out: roots come last."""

MAX_ROOTS = 16
"""Of a larger bundle (a system's) only the one that ends last: then nothing is believed."""

Kind = Literal["identity", "certificate", "trust"]


@dataclass(frozen=True, slots=True)
class Holding:
    """One certificate. secret: the SDS name, or the listener or cluster that it stands in."""

    kind: Kind
    secret: str
    source: str
    serial: str
    sha256: str
    issuer: str
    name: str
    not_before: float
    not_after: float
    used_by: tuple[str, ...]


def holdings(snapshot: Snapshot, own: Secret | None) -> tuple[Holding, ...]:
    """own: the workload's own certificate. What can't be read as a certificate is left out: its
    TLS context has refused it already."""
    found = dict.fromkeys(_all(snapshot, own))
    rank = {"identity": 0, "certificate": 1, "trust": 2}
    return tuple(sorted(found, key=lambda one: rank[one.kind]))[:MAX_CERTIFICATES]


def _all(snapshot: Snapshot, own: Secret | None) -> Iterator[Holding]:
    users = _users(snapshot)
    if own is not None:
        yield from _certificate(own, "identity", users.get(own.name, ()))
    for secret in snapshot.secrets.values():
        if own is None or secret.name != own.name:
            yield from _certificate(secret, "certificate", users.get(secret.name, ()))
        yield from _roots(secret, users.get(secret.name, ()))
    for what, owner in _owners(snapshot):
        for secret in inline_secrets(owner):
            yield from _certificate(secret, "certificate", (what,))
            yield from _roots(secret, (what,))


def _owners(snapshot: Snapshot) -> Iterator[tuple[str, Listener | Cluster]]:
    for listener in snapshot.listeners.values():
        yield f"listener {listener.name}", listener
    for cluster in snapshot.clusters.values():
        yield f"cluster {cluster.name}", cluster


def _users(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Who names a secret, by its name."""
    found: dict[str, dict[str, None]] = {}
    for what, owner in _owners(snapshot):
        for name in secret_names(owner):
            found.setdefault(name, {})[what] = None
    return {name: tuple(users) for name, users in found.items()}


def _certificate(secret: Secret, kind: Kind, used_by: tuple[str, ...]) -> Iterator[Holding]:
    """The leaf alone: those above it are the authority's."""
    if secret.certificate is not None:
        chain = secret.certificate.chain
        for certificate in _read(chain)[:1]:
            yield _holding(kind, secret.name, chain.origin, certificate, used_by)


def _roots(secret: Secret, used_by: tuple[str, ...]) -> Iterator[Holding]:
    context = secret.validation
    if context is None or not used_by:
        return
    sources = [domain.bundle for domain in context.trust_domains]
    if context.trusted_ca is not None:
        sources.append(context.trusted_ca)
    for source in sources:
        roots = _read(source)
        if len(roots) > MAX_ROOTS:
            last = max(roots, key=lambda one: validity(one)[1])
            origin = f"{source.origin}, the last of {len(roots)} roots"
            yield _holding("trust", secret.name, origin, last, used_by)
            continue
        for certificate in roots:
            yield _holding("trust", secret.name, source.origin, certificate, used_by)


def _read(source: DataSource) -> tuple[Certificate, ...]:
    try:
        return chain_from_pem(source.data)
    except CertificateError:
        return ()


def _holding(
    kind: Kind, secret: str, source: str, certificate: Certificate, used_by: tuple[str, ...]
) -> Holding:
    not_before, not_after = validity(certificate)
    return Holding(
        kind, secret, source, f"{certificate.serial_number:x}", fingerprint(certificate),
        certificate.issuer.rfc4514_string(), _name(certificate),
        max(not_before, 0.0), max(not_after, 0.0), used_by,
    )  # fmt: skip


def _name(certificate: Certificate) -> str:
    try:
        names: Iterable[str] = (*uri_sans(certificate), *dns_sans(certificate))
    except CertificateError:
        names = ()
    return ", ".join(names) or subject_of(certificate)
