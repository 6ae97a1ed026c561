"""Who calls: what the mesh looks like to the proxies of some clients.

Most services are the same to everybody (`is_common`); the others are what `seen_by` makes of them.
A Client holds all of a node that this depends on, so that nodes that are alike share what is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Protocol

from controlplane.emit import credentials, localities
from controlplane.mesh.imports import Import, import_of
from controlplane.mesh.model import ClientPolicy, Service, Subset, TrafficPolicy, Viewpoint
from protos.frozen import frozen

_PASSTHROUGH = "PASSTHROUGH"


class Caller(Protocol):
    """What decides which rules hold: a node, or all that are like it."""

    @property
    def namespace(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def locality(self) -> tuple[str, str, str]: ...
    @property
    def intercepts(self) -> bool: ...
    @property
    def network(self) -> str: ...
    @property
    def networks(self) -> tuple[str, ...]: ...


@frozen
class Client:
    """labels: of a node's those that some service asks for; others differ from pod to pod.
    intercepts: it knows to which address the application connects. network: the one that it is in;
    networks: those of which it sees endpoints, none for all."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    locality: tuple[str, str, str] = ("", "", "")
    intercepts: bool = False
    network: str = ""
    networks: tuple[str, ...] = ()


def client_of(caller: Caller, asked_for: Iterable[str]) -> Client:
    """asked_for: the names of labels that services ask for."""
    labels = {name: caller.labels[name] for name in asked_for if name in caller.labels}
    where = (caller.locality, caller.intercepts, caller.network, caller.networks)
    return Client(caller.namespace, labels, *where)


def labels_of(service: Service) -> Iterator[str]:
    """The labels of clients that it asks for."""
    for rule in service.rules:
        for match in rule.matches:
            yield from match.source_labels
    for stream_rule in service.stream_rules:
        for stream_match in stream_rule.matches:
            yield from stream_match.source_labels
    for policy in service.for_clients:
        yield from policy.scope.labels
        yield from localities.asked_of(_with(service, policy))
    yield from localities.asked_of(service)


def is_common(service: Service) -> bool:
    """Whether it is itself to every client."""
    everywhere = service.visible_in is None and not service.for_clients
    everywhere = everywhere and not _has_no_address(service) and not _passes_through(service)
    everywhere = everywhere and not service.gateways
    return everywhere and not credentials.differs(service) and not localities.matters(service)


def seen_by(service: Service, client: Caller) -> Service | None:
    """With the policies that hold for the client; None if it may not know the service."""
    if is_common(service):
        return service
    if service.visible_in is not None and client.namespace not in service.visible_in:
        return None
    for own in service.for_clients:
        if own.scope.takes(client.namespace, client.labels):
            service = _with(service, own)
            break
    if (where := _viewpoint(service, client)) is not None:
        service = replace(service, seen_from=where)
    if client.intercepts and _has_no_address(service):
        service = replace(service, as_addressed=True)
    if not client.intercepts and _passes_through(service):
        service = _choosing(service)
    return credentials.shut(replace(service, for_clients=()), client.namespace)


def _viewpoint(service: Service, client: Caller) -> Viewpoint | None:
    """None where all clients use the endpoints alike."""
    where = Viewpoint()
    if localities.matters(service):
        asked = frozenset(localities.asked_of(service))
        labels = {name: value for name, value in client.labels.items() if name in asked}
        where = Viewpoint(client.locality, labels, client.network)
    elif not service.gateways:
        return None
    if service.gateways:
        where = replace(where, network=client.network, networks=client.networks)
    return where


def _has_no_address(service: Service) -> bool:
    """Its clients choose among its endpoints themselves, as far as they are seen to do so."""
    return service.headless or service.resolution == "NONE"


def _passes_through(service: Service) -> bool:
    """Whether some of its connections are to go where the application sends them."""
    levels: tuple[Service | Subset, ...] = (service, *service.subsets)
    every = (policy for of in levels for policy in (of.policy, *of.port_policies.values()))
    return any(policy.load_balancer == _PASSTHROUGH for policy in every)


def _choosing(service: Service) -> Service:
    """As one sees it who does not know where that is: its endpoints are chosen among."""

    def of(policy: TrafficPolicy) -> TrafficPolicy:
        passes = policy.load_balancer == _PASSTHROUGH
        return replace(policy, load_balancer="LEAST_REQUEST") if passes else policy

    def ports(found: Mapping[int, TrafficPolicy]) -> Mapping[int, TrafficPolicy]:
        return {number: of(policy) for number, policy in found.items()}

    subsets = tuple(
        replace(one, policy=of(one.policy), port_policies=ports(one.port_policies))
        for one in service.subsets
    )
    policies = ports(service.port_policies)
    return replace(service, policy=of(service.policy), port_policies=policies, subsets=subsets)


def _with(service: Service, own: ClientPolicy) -> Service:
    ports, subsets = own.port_policies, own.subsets
    return replace(service, policy=own.policy, port_policies=ports, subsets=subsets)


def imported(
    services: tuple[Service, ...], imports: tuple[Import, ...], client: Caller
) -> tuple[Service, ...]:
    """Those of the services that may be called by name from the client (Istio's Sidecar)."""
    chosen = import_of(imports, client.namespace, client.labels)
    if chosen is None:
        return services
    return tuple(one for one in services if chosen.takes(one.namespace, one.hostname))


def labels_of_imports(imports: Iterable[Import]) -> Iterator[str]:
    """The labels of clients that they ask for."""
    for one in imports:
        yield from one.scope.labels


def seen(services: Iterable[Service], client: Caller) -> tuple[Service, ...]:
    """All that the client may know, in their order."""
    views = (seen_by(service, client) for service in services)
    return tuple(view for view in views if view is not None)
