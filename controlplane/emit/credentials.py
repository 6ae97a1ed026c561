"""Users' certificates over SDS, by Istio's names: `kubernetes://NAMESPACE/NAME`, and the roots that
stand beside them with `-cacert` behind it.

Whoever calls decides who may have them: what is served holds a private key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.mesh.credentials import Credential
from controlplane.mesh.model import ClientPolicy, ClientTls, Mesh, Service, Subset, TrafficPolicy

Item = TypeVar("Item", Service, Subset)


def pair_name(namespace: str, name: str) -> str:
    """Of the secret with certificate and key."""
    return f"kubernetes://{namespace}/{name}"


def roots_name(namespace: str, name: str) -> str:
    """Of the secret by which others are verified."""
    return f"{pair_name(namespace, name)}-cacert"


def secrets(credential: Credential) -> tuple[Secret, ...]:
    """What there is of it: the pair, the roots with their revocation lists."""
    found = []
    if credential.has_pair:
        pair = TlsCertificate(
            certificate_chain=DataSource(inline_bytes=credential.chain),
            private_key=DataSource(inline_bytes=credential.private_key),
        )
        name = pair_name(credential.namespace, credential.name)
        found.append(Secret(name=name, tls_certificate=pair))
    if credential.roots:
        context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=credential.roots))
        if credential.lists:
            context.crl.inline_bytes = credential.lists
        name = roots_name(credential.namespace, credential.name)
        found.append(Secret(name=name, validation_context=context))
    return tuple(found)


# --------------------------------------------------------------------------- of services


def differs(service: Service) -> bool:
    """Whether it is another one for the clients of a namespace, who may have a credential."""
    return next(_named(service), None) is not None


def of_services(mesh: Mesh, namespace: str) -> tuple[Secret, ...]:
    """What the clients in `namespace` need for the services that name a credential of it."""
    found = named_by(mesh.services, mesh.credentials, namespace)
    return tuple(secret for one in found for secret in secrets(one))


def named_by(
    services: Iterable[Service], credentials: Iterable[Credential], namespace: str
) -> tuple[Credential, ...]:
    """Those of `namespace` that some service names. services: all that may be seen differently."""
    here = [one for one in credentials if one.namespace == namespace]
    if not here:
        return ()
    named = {tls.credential for service in services for tls in _named(service)}
    return tuple(one for one in here if (one.namespace, one.name) in named)


def shut(service: Service, namespace: str) -> Service:
    """As clients in `namespace` see it: where the credential is not theirs, they reach nobody."""

    def seen(policy: TrafficPolicy) -> TrafficPolicy:
        tls = policy.tls
        if tls is None or tls.credential is None or tls.credential[0] == namespace:
            return policy
        return replace(policy, tls=replace(tls, credential=None, closed=True))

    if not differs(service):
        return service
    subsets = tuple(_with_policies(subset, seen) for subset in service.subsets)
    return replace(_with_policies(service, seen), subsets=subsets)


def _with_policies(item: Item, seen: Callable[[TrafficPolicy], TrafficPolicy]) -> Item:
    ports = {number: seen(policy) for number, policy in item.port_policies.items()}
    return replace(item, policy=seen(item.policy), port_policies=ports)


def _named(service: Service) -> Iterator[ClientTls]:
    holders: tuple[Service | ClientPolicy, ...] = (service, *service.for_clients)
    for holder in holders:
        yield from _of(holder)
        for subset in holder.subsets:
            yield from _of(subset)


def _of(item: Service | ClientPolicy | Subset) -> Iterator[ClientTls]:
    for policy in (item.policy, *item.port_policies.values()):
        if policy.tls is not None and policy.tls.credential is not None:
            yield policy.tls
