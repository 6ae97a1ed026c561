"""Endpoints in groups by where they are, as one client should use them (Istio's locality load
balancing): by shares (distribute), or the nearest first and others when these fail (failover).

Failover needs outlier detection, without which nobody would know that the nearest fail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from controlplane.mesh.model import Endpoint, Service, TrafficPolicy, Viewpoint
from controlplane.mesh.networks import LABEL as NETWORK
from protos.frozen import frozen

Place = tuple[str, str, str]
"""Region, zone, subzone; '' is not known."""

_REGION = "topology.kubernetes.io/region"
_ZONE = "topology.kubernetes.io/zone"
_SUBZONE = "topology.istio.io/subzone"


@frozen
class Group:
    """priority 0 comes first; weight is the group's share among those of its priority."""

    locality: Place
    endpoints: tuple[Endpoint, ...]
    weight: int
    priority: int = 0


def matters(service: Service) -> bool:
    """Whether clients at different places should use its endpoints differently."""
    several = len({(one.locality, one.network) for one in service.endpoints}) > 1
    return any(
        bool(several or policy.localities.distribute or _asks_for_labels(policy))
        for policy in _policies(service)
        if policy.localities.distribute or policy.localities.zone_aware or _fails_over(policy)
    )


def _asks_for_labels(policy: TrafficPolicy) -> bool:
    return bool(policy.localities.priority) and not policy.localities.always


def _policies(service: Service) -> Iterable[TrafficPolicy]:
    yield from (service.policy, *service.port_policies.values())
    for subset in service.subsets:
        yield from (subset.policy, *subset.port_policies.values())


def _fails_over(policy: TrafficPolicy) -> bool:
    settings = policy.localities
    return settings.enabled and (policy.outlier is not None or settings.always)


def groups(endpoints: Iterable[Endpoint]) -> list[Group]:
    """By locality, sorted; a group weighs what its endpoints do."""
    found: dict[Place, list[Endpoint]] = {}
    for endpoint in endpoints:
        found.setdefault(endpoint.locality, []).append(endpoint)
    return [_group(place, found[place]) for place in sorted(found)]


def _group(place: Place, endpoints: Iterable[Endpoint], priority: int = 0) -> Group:
    every = tuple(endpoints)
    return Group(place, every, sum(endpoint.weight for endpoint in every) or 1, priority)


def asked_of(service: Service) -> Iterable[str]:
    """The labels of clients that decide which endpoints are near."""
    for policy in _policies(service):
        asked = policy.localities.priority if _asks_for_labels(policy) else ()
        for name, given, _ in _parts(asked):
            if not given:
                yield name


def arranged(
    endpoints: Iterable[Endpoint], policy: TrafficPolicy, client: Viewpoint | None
) -> list[Group]:
    """The groups as `client` should use them; None: one to whom its place is all the same."""
    settings = policy.localities
    plain = groups(endpoints)
    if client is None:
        return plain
    if settings.distribute:
        return _distributed(plain, policy, client.locality)
    if not _fails_over(policy) and not settings.zone_aware:
        return plain
    if settings.priority:
        return _in_order(_by_labels(plain, settings.priority, client))
    failover, rank = dict(settings.failover), _by_region if settings.zone_aware else _distance
    return _in_order(
        [replace(one, priority=rank(client.locality, one.locality, failover)) for one in plain]
    )


# --------------------------------------------------------------------------- shares


def _distributed(plain: list[Group], policy: TrafficPolicy, here: Place) -> list[Group]:
    """Of the first setting for the client's place: each share is divided among its groups by
    their weights, and groups without a share get nothing."""
    shares = next((to for source, to in policy.localities.distribute if lies_in(here, source)), ())
    if not shares:
        return plain
    left = list(plain)
    found: list[Group] = []
    for place, percent in shares:
        mine = [one for one in left if lies_in(one.locality, place)]
        left = [one for one in left if one not in mine]
        total = sum(one.weight for one in mine)
        found += [replace(one, weight=math.ceil(one.weight * percent / total)) for one in mine]
    return sorted(found, key=lambda one: one.locality)


def lies_in(place: Place, rule: str) -> bool:
    """Is `place` in 'region/zone/subzone' of a setting, whose rest may be missing or '*'?"""
    parts = rule.split("/")
    return all(part in ("*", own) for part, own in zip(parts, place, strict=False))


# --------------------------------------------------------------------------- failover


def _distance(here: Place, there: Place, failover: Mapping[str, str]) -> int:
    """0 the same subzone, 1 the same zone, 2 the same region, 3 elsewhere; 4 where a setting for
    the client's region names another one."""
    for nearness, depth in enumerate((3, 2, 1)):
        if here[:depth] == there[:depth]:
            return nearness
    return 4 if here[0] in failover and failover[here[0]] != there[0] else 3


def _by_region(here: Place, there: Place, failover: Mapping[str, str]) -> int:
    """As _distance, but within the region it is for the proxy to look at zones."""
    return 0 if here[0] == there[0] else _distance(here, there, failover)


def _by_labels(plain: list[Group], wanted: tuple[str, ...], client: Viewpoint) -> list[Group]:
    """Endpoints are the nearer the more of the first labels they share with the client; 'a=b'
    asks for b whatever the client has."""
    mine = _with_place(client.labels, client.locality, client.network)
    asked = [(name, value if sep else mine.get(name, "")) for name, sep, value in _parts(wanted)]
    found: dict[tuple[Place, int], list[Endpoint]] = {}
    for group in plain:
        for endpoint in group.endpoints:
            theirs = _with_place(endpoint.labels, endpoint.locality, endpoint.network)
            shared = _shared(asked, theirs)
            found.setdefault((group.locality, len(asked) - shared), []).append(endpoint)
    return [_group(place, found[place, rank], rank) for place, rank in sorted(found)]


def _parts(wanted: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return (text.partition("=") for text in wanted)


def _shared(asked: list[tuple[str, str]], labels: Mapping[str, str]) -> int:
    for index, (name, value) in enumerate(asked):
        if labels.get(name, "") != value:
            return index
    return len(asked)


def _with_place(labels: Mapping[str, str], place: Place, network: str) -> dict[str, str]:
    """Kubernetes' and Istio's labels of topology, where they are known."""
    topology = dict(zip((_REGION, _ZONE, _SUBZONE, NETWORK), (*place, network), strict=True))
    return {**{name: value for name, value in topology.items() if value}, **labels}


def _in_order(found: list[Group]) -> list[Group]:
    """Envoy's priorities have no gaps."""
    ranks = sorted({group.priority for group in found})
    return [replace(group, priority=ranks.index(group.priority)) for group in found]
