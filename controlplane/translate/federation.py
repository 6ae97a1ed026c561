"""ClusterFederatedTrustDomain, and what the MeshConfig says of others' authorities -> the foreign
trust domains of the mesh, each once."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.mesh_authorities import CertificateData
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.mesh.federation import ForeignDomain
from controlplane.translate.report import Report


def build(
    items: Iterable[ClusterFederatedTrustDomain],
    settings: tuple[MeshConfigMap, ...],
    own: Iterable[str],
    report: Report,
) -> tuple[ForeignDomain, ...]:
    """Sorted by name. `own`: the mesh's trust domain and its aliases, which are not foreign."""
    ours = frozenset(own)
    found: dict[str, ForeignDomain] = {}
    for item in items:
        domain = item.spec.trust_domain
        if domain in ours:
            reason = f"trust domain {domain} is the mesh's own: it can't be federated with itself"
            report.error(item, item.spec.at("trustDomain"), "OwnTrustDomain", reason)
        elif domain in found:
            reason = f"trust domain {domain} is federated at {found[domain].position} already"
            report.error(item, item.spec.at("trustDomain"), "Duplicate", reason)
        else:
            found[domain] = _foreign(item)
    for config in settings:
        _add_authorities(config, found, ours, report)
    for item in items:
        _check_endpoint(item, found, report)
    return tuple(found[name] for name in sorted(found))


def _add_authorities(
    settings: MeshConfigMap,
    found: dict[str, ForeignDomain],
    own: frozenset[str],
    report: Report,
) -> None:
    """The MeshConfig's caCertificates that are a foreign domain's bundle; others are not taken."""
    config = settings.data.mesh
    for index, data in enumerate(config.ca_certificates):
        position = config.at(f"caCertificates[{index}]")
        if why := _why_not(data, own):
            message = f"caCertificates[{index}] has no effect: {why}"
            report.warning(settings, position, "NoEffect", message)
            continue
        for name in data.trust_domains:
            made = ForeignDomain(
                name, data.spiffe_bundle_url, None, None, position, str(settings.key)
            )
            if found.setdefault(name, made) is not made:
                reason = f"trust domain {name} is federated at {found[name].position} already"
                report.error(settings, position, "Duplicate", reason)


def _why_not(data: CertificateData, own: frozenset[str]) -> str:
    if not data.trust_domains or not own.isdisjoint(data.trust_domains):
        return "the mesh's own identities are signed by its own authority alone (`weft ca`)"
    if data.pem:
        return (
            "roots of another trust domain are believed as a bundle: give its spiffeBundleUrl, or "
            "write a ClusterFederatedTrustDomain with a trustDomainBundle"
        )
    if data.cert_signers:
        return "certificates are not signed by signers of Kubernetes"
    return ""


def _foreign(item: ClusterFederatedTrustDomain) -> ForeignDomain:
    spec = item.spec
    return ForeignDomain(
        spec.trust_domain,
        spec.bundle_endpoint_url,
        spec.bundle_endpoint_profile.endpoint_spiffe_id,
        spec.trust_domain_bundle,
        item.position,
        str(item.key),
    )


def _check_endpoint(
    item: ClusterFederatedTrustDomain, found: dict[str, ForeignDomain], report: Report
) -> None:
    endpoint = item.spec.bundle_endpoint_profile.endpoint_spiffe_id
    if endpoint is not None and endpoint.trust_domain not in found:
        reason = (
            f"endpointSPIFFEID {endpoint} is of a trust domain that is not federated: nothing "
            "verifies its certificate, and only trustDomainBundle is believed"
        )
        position = item.spec.bundle_endpoint_profile.at("endpointSPIFFEID")
        report.warning(item, position, "NoBundle", reason)
