"""ClusterFederatedTrustDomain -> the foreign trust domains of the mesh, each once."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.mesh.federation import ForeignDomain
from controlplane.translate.report import Report


def build(
    items: Iterable[ClusterFederatedTrustDomain], own: Iterable[str], report: Report
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
    for item in items:
        _check_endpoint(item, found, report)
    return tuple(found[name] for name in sorted(found))


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
