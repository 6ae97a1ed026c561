"""What a cluster or listener names and cannot work without. Pure, over the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protos.types import EDS, RDS, SDS
from proxy.config.decode import Resource
from proxy.config.model import (
    Cluster,
    CommonTls,
    DirectResponse,
    FilterChain,
    Listener,
    Route,
    SdsRef,
    Secret,
    VirtualHost,
)

Key = tuple[str, str]
"""(type URL, name) of a resource."""


def needs(owner: Cluster | Listener) -> frozenset[Key]:
    """The resources over ADS that it names: endpoints, routes, secrets (static ones aside)."""
    found: set[Key] = {(SDS, ref.name) for ref in _secrets(owner) if not ref.static}
    if isinstance(owner, Cluster):
        if owner.type == "EDS":
            found.add((EDS, owner.eds_service_name or owner.name))
    else:
        managers = [chain.http for chain in _chains(owner) if chain.http is not None]
        found |= {(RDS, one.rds_name) for one in managers if one.rds_name}
    return frozenset(found)


def files(owner: Cluster | Listener) -> dict[Key, str]:
    """Those of its needs that stand in files, with their paths."""
    found = {(SDS, ref.name): ref.path for ref in _secrets(owner) if ref.path}
    if isinstance(owner, Cluster):
        if owner.eds_path:
            found[(EDS, owner.eds_service_name or owner.name)] = owner.eds_path
    else:
        managers = [chain.http for chain in _chains(owner) if chain.http is not None]
        found |= {(RDS, one.rds_name): one.rds_path for one in managers if one.rds_path}
    return found


def static_secrets(model: Resource) -> frozenset[str]:
    """Names of secrets that must stand in the bootstrap."""
    if not isinstance(model, Cluster | Listener):
        return frozenset()
    return frozenset(ref.name for ref in _secrets(model) if ref.static)


def secret_names(owner: Cluster | Listener) -> frozenset[str]:
    """All secrets that it names, wherever they come from."""
    return frozenset(ref.name for ref in _secrets(owner))


def inline_secrets(owner: Cluster | Listener) -> Iterator[Secret]:
    """The certificates that stand in its own TLS contexts, under its name."""
    for common in _contexts(owner):
        for certificate in common.certificates:
            yield Secret(owner.name, certificate=certificate)
        if common.validation is not None:
            yield Secret(owner.name, validation=common.validation)


def _secrets(owner: Cluster | Listener) -> Iterator[SdsRef]:
    for common in _contexts(owner):
        for ref in (common.certificate_sds, common.validation_sds):
            if ref is not None:
                yield ref


def _contexts(owner: Cluster | Listener) -> Iterable[CommonTls]:
    if isinstance(owner, Listener):
        return [chain.tls.common for chain in _chains(owner) if chain.tls is not None]
    sides = [owner.tls, *(match.tls for match in owner.tls_matches)]
    return [side.common for side in sides if side is not None]


def _chains(listener: Listener) -> Iterable[FilterChain]:
    if listener.default_filter_chain is None:
        return listener.filter_chains
    return (*listener.filter_chains, listener.default_filter_chain)


def longest_body(host: VirtualHost) -> int:
    """Bytes of the longest body that its routes answer with themselves."""
    found = (one.action for one in routes_of(host))
    return max((len(one.body) for one in found if isinstance(one, DirectResponse)), default=0)


def routes_of(host: VirtualHost) -> Iterator[Route]:
    yield from host.routes
    if host.matcher is not None:
        for branch in host.matcher.branches.values():
            yield from branch
        for _, branch in host.matcher.rules:
            yield from branch
        yield from host.matcher.otherwise
