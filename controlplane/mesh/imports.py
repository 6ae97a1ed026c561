"""Which services the sidecars of some workloads know, where that is not all they may."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope
from protos.frozen import frozen


@frozen
class Import:
    """hosts: (namespace, host) of services that are known; '*' is any, '*.x' all below x.
    excluded: namespaces whose services are not, whatever `hosts` says."""

    scope: Scope
    hosts: tuple[tuple[str, str], ...]
    excluded: tuple[str, ...] = ()
    position: Position = NOWHERE

    def takes(self, namespace: str, hostname: str) -> bool:
        """Whether a service of `namespace` is known."""
        if namespace in self.excluded:
            return False
        return any(
            owner in ("*", namespace) and _covers(host, hostname) for owner, host in self.hosts
        )


def import_of(
    imports: tuple[Import, ...], namespace: str, labels: Mapping[str, str]
) -> Import | None:
    """The one for a workload; None: it knows all. imports: the most specific first."""
    return next((one for one in imports if one.scope.takes(namespace, labels)), None)


def _covers(pattern: str, hostname: str) -> bool:
    """Either may be a wildcard: '*.b' stands for 'a.b', and the service '*.a.b' is within it."""
    if pattern.startswith("*"):
        return hostname.endswith(pattern[1:])
    return hostname == pattern or (hostname.startswith("*") and pattern.endswith(hostname[1:]))
