"""ClusterFederatedTrustDomain, and what the MeshConfig says of others' authorities -> the foreign
trust domains of the mesh, each once."""

from __future__ import annotations

from collections.abc import Iterable

from certs.spiffe_bundle import SpiffeBundle
from certs.x509 import Certificate
from controlplane.kinds.federation import ClusterFederatedTrustDomain
from controlplane.kinds.mesh_authorities import CertificateData
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.position import Position
from controlplane.translate.report import Report


def build(
    items: Iterable[ClusterFederatedTrustDomain],
    settings: tuple[MeshConfigMap, ...],
    own: Iterable[str],
    report: Report,
) -> tuple[ForeignDomain, ...]:
    """Sorted by name. `own`: the mesh's trust domain and its aliases, which are not foreign."""
    ours = tuple(own)
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
    own: tuple[str, ...],
    report: Report,
) -> None:
    """The MeshConfig's caCertificates: roots that are believed beside those of our authority, and
    what is believed of other trust domains."""
    roots: dict[str, tuple[Certificate, ...]] = {}
    positions: dict[str, Position] = {}
    for index, data in enumerate(settings.data.mesh.ca_certificates):
        position = settings.data.mesh.at(f"caCertificates[{index}]")
        if why := _why_not(data, own):
            message = f"caCertificates[{index}] has no effect: {why}"
            report.warning(settings, position, "NoEffect", message)
            continue
        for name in _whose(data, own):
            if data.pem:
                roots[name] = (*roots.get(name, ()), *data.roots())
                positions.setdefault(name, position)
            else:
                _add(
                    ForeignDomain(
                        name, data.spiffe_bundle_url, position=position, object=str(settings.key)
                    ),
                    found,
                    settings,
                    report,
                )
    for name, every in roots.items():
        bundle = SpiffeBundle(tuple(dict.fromkeys(every)))
        made = ForeignDomain(name, "", None, bundle, positions[name], str(settings.key))
        _add(made, found, settings, report)


def _add(
    made: ForeignDomain, found: dict[str, ForeignDomain], settings: MeshConfigMap, report: Report
) -> None:
    name = made.trust_domain
    if found.setdefault(name, made) is not made:
        reason = f"trust domain {name} is federated at {found[name].position} already"
        report.error(settings, made.position, "Duplicate", reason)


def _whose(data: CertificateData, own: tuple[str, ...]) -> Iterable[str]:
    """The names of trust domains, each once; the mesh's own has only its first one."""
    names = data.trust_domains or own[:1]
    return dict.fromkeys(own[0] if name in own else name for name in names)


def _why_not(data: CertificateData, own: tuple[str, ...]) -> str:
    if data.spiffe_bundle_url and (not data.trust_domains or {*own} & {*data.trust_domains}):
        return (
            "a bundle is fetched for other trust domains: give roots of the mesh's own as pem, or "
            "name the trustDomains that it is for"
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
