"""Which kinds are followed, and under which version: what the registry knows, of what is served.

Pure. A kind whose CRD is not installed is missing, which is no error; the best version that both
sides know is taken, and only one, since all of them show the same objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.kinds.registry import KINDS
from controlplane.sources.kubernetes.answers import Resource
from protos.frozen import frozen

NOT_FOLLOWED = frozenset({"Deployment", "Endpoints"})
"""Deployments have no effect: pods tell what runs. Every API server since 1.21 keeps EndpointSlices
for what is in Endpoints, also for those that people write. A kind that has no effect at all (ABOUT)
is not followed either."""

_SECRETS = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?\Z")
_VERBS = frozenset({"list", "watch"})


@dataclass(frozen=True, slots=True, order=True)
class Followed:
    """A resource that is listed and watched. namespace '': all that are selected."""

    resource: Resource
    selector: str = ""
    namespace: str = ""

    @property
    def kind(self) -> str:
        return self.resource.kind


@frozen
class Plan:
    """missing: (kind, the apiVersions under which it would be understood)."""

    followed: tuple[Followed, ...] = ()
    missing: tuple[tuple[str, tuple[str, ...]], ...] = ()


def plan(served: Iterable[Resource]) -> Plan:
    offers = {(one.api_version, one.kind): one for one in served if one.verbs >= _VERBS}
    followed: list[Followed] = []
    missing: list[tuple[str, tuple[str, ...]]] = []
    for (_, kind), versions in sorted(_known().items()):
        found = next((offers[v, kind] for v in versions if (v, kind) in offers), None)
        if found is None:
            missing.append((kind, versions))
        else:
            followed.append(_followed(found))
    return Plan(tuple(followed), tuple(missing))


def groups() -> frozenset[str]:
    """The API groups that are of interest, '' for the core's."""
    return frozenset(group for group, _ in _known())


def _followed(resource: Resource) -> Followed:
    if resource.group == "" and resource.kind == "Secret":
        return Followed(resource, _SECRETS)
    return Followed(resource)


def _known() -> dict[tuple[str, str], tuple[str, ...]]:
    """(group, kind) -> apiVersions, the most stable first."""
    found: dict[tuple[str, str], list[str]] = {}
    for (version, kind), cls in KINDS.items():
        if kind in NOT_FOLLOWED or cls.ABOUT:
            continue
        group = version.rpartition("/")[0]
        found.setdefault((group, kind), []).append(version)
    return {
        key: tuple(sorted(versions, key=_stability, reverse=True))
        for key, versions in found.items()
    }


def _stability(api_version: str) -> tuple[int, int, int]:
    """Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha3."""
    match = _VERSION.match(api_version.rpartition("/")[2])
    if match is None:
        return (-1, 0, 0)
    major, word, minor = match.groups()
    return ({None: 2, "beta": 1, "alpha": 0}[word], int(major), int(minor or 0))
