"""All that decides about access: AuthorizationPolicy, RequestAuthentication and the MeshConfig."""

from __future__ import annotations

from functools import partial

from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.mesh_config import MeshConfig, MeshConfigMap
from controlplane.kinds.request_authentication import RequestAuthentication
from controlplane.mesh.model import Service
from controlplane.mesh.policy import Authorizer, Normalization, Security
from controlplane.mesh.tls_limits import NO_LIMITS
from controlplane.translate import access, tokens
from controlplane.translate.authorizers import authorizers
from controlplane.translate.index import Hosts, key_of
from controlplane.translate.memo import Each
from controlplane.translate.mesh_defaults import tls_limits
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population
from controlplane.translate.trust_domains import TrustDomains


def build(
    each: Each,
    configs: tuple[MeshConfigMap, ...],
    policies: tuple[tuple[AuthorizationPolicy, ...], tuple[RequestAuthentication, ...]],
    trust_domain: str,
    authorizers: tuple[Authorizer, ...],
    lookups: tuple[Hosts, Population],
    report: Report,
) -> Security:
    """policies: both kinds, the oldest first. lookups: the services and workloads of the mesh that
    is being made."""
    settings = next(iter(configs), None)
    config = settings.data.mesh if settings is not None else None
    aliases = config.trust_domain_aliases if config is not None else ()
    if settings is not None and config is not None:
        _tell_trust_domain(settings, config.trust_domain, trust_domain, report)
    hosts, population = lookups
    domains = TrustDomains((trust_domain, *aliases))
    access_policy = partial(access.policy, population, report)
    token_policy = partial(tokens.policy, hosts, population, report)
    return Security(
        access=each("access", key_of, access_policy, policies[:1], (domains, authorizers)),
        tokens=each("tokens", key_of, token_policy, policies[1:]),
        authorizers=authorizers,
        trust_domain_aliases=aliases,
        denial_details=settings is not None and settings.denial_details,
        normalization=path_normalization(config),
        mutual_tls=tls_limits(config.mesh_mtls) if config is not None else NO_LIMITS,
    )


def asked(
    configs: tuple[MeshConfigMap, ...], services: tuple[Service, ...]
) -> tuple[Authorizer, ...]:
    """Who may be asked about access."""
    config = next((one.data.mesh for one in configs), None)
    providers = config.extension_providers if config is not None else ()
    return tuple(authorizers(providers, services)) if providers else ()


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
