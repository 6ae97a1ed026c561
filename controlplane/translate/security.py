"""All that decides about access: AuthorizationPolicy, RequestAuthentication and the MeshConfig."""

from __future__ import annotations

from controlplane.inventory import Snapshot
from controlplane.kinds.apps import Deployment
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.gateway_api.gateway import Gateway
from controlplane.kinds.mesh_config import MeshConfig, MeshConfigMap
from controlplane.kinds.request_authentication import RequestAuthentication
from controlplane.mesh.model import Service, Workload
from controlplane.mesh.policy import Normalization, Security
from controlplane.mesh.tls_limits import NO_LIMITS
from controlplane.translate import access, tokens
from controlplane.translate.authorizers import authorizers
from controlplane.translate.mesh_defaults import tls_limits
from controlplane.translate.report import Report
from controlplane.translate.scopes import Planned, Population
from controlplane.translate.trust_domains import TrustDomains

KINDS = (MeshConfigMap, AuthorizationPolicy, RequestAuthentication, Deployment, Gateway)
"""What of a snapshot decides."""


def build(
    snapshot: Snapshot,
    trust_domain: str,
    services: tuple[Service, ...],
    workloads: tuple[Workload, ...],
    report: Report,
    pods: tuple[Planned, ...] = (),
) -> Security:
    """The services and workloads are those of the mesh that is being made. pods: namespace and
    labels of those that there are."""
    settings = next(iter(snapshot.of(MeshConfigMap)), None)
    config = settings.data.mesh if settings is not None else None
    aliases = config.trust_domain_aliases if config is not None else ()
    asked = tuple(authorizers(config.extension_providers, services)) if config is not None else ()
    if settings is not None and config is not None:
        _tell_trust_domain(settings, config.trust_domain, trust_domain, report)
    domains = TrustDomains(trust_domain, aliases)
    policies = snapshot.of(AuthorizationPolicy)
    planned = (
        (item.namespace, item.spec.template.metadata.labels) for item in snapshot.of(Deployment)
    )
    gateways = ((item.namespace, item.name) for item in snapshot.of(Gateway))
    population = Population(workloads, (*pods, *planned), gateways)
    return Security(
        access=access.policies(policies, domains, asked, population, report),
        tokens=tokens.policies(snapshot.of(RequestAuthentication), services, population, report),
        authorizers=asked,
        trust_domain_aliases=aliases,
        denial_details=settings is not None and settings.denial_details,
        normalization=path_normalization(config),
        mutual_tls=tls_limits(config.mesh_mtls) if config is not None else NO_LIMITS,
    )


def path_normalization(config: MeshConfig | None) -> Normalization:
    """How every proxy cleans a path before anything looks at it."""
    found = config.path_normalization if config is not None else None
    if found is None or found.normalization == "DEFAULT":
        return "BASE"
    return found.normalization


def _tell_trust_domain(item: MeshConfigMap, wanted: str, actual: str, report: Report) -> None:
    if wanted not in ("", actual):
        message = (
            f"trustDomain: this control plane's trust domain is {actual!r} (--trust-domain), and "
            f"{wanted!r} has no effect"
        )
        report.error(item, item.data.mesh.at("trustDomain"), "Conflict", message)
