"""Rules of a VirtualService by themselves, for clients that do not see all that services have.

A service has the rules of who sees everything. Who knows a part of the mesh only (Istio's Sidecar)
sees the VirtualServices of that part; and some are for hosts that are no service's.
"""

from __future__ import annotations

from controlplane.mesh.http_rules import HttpRule
from controlplane.mesh.imports import Import
from controlplane.mesh.stream_rules import StreamRule
from protos.frozen import frozen


@frozen
class Published:
    """hosts: full names, or wildcards. visible_in: namespaces of the clients that may see it, None
    for all."""

    namespace: str
    hosts: tuple[str, ...]
    rules: tuple[HttpRule, ...] = ()
    stream_rules: tuple[StreamRule, ...] = ()
    visible_in: tuple[str, ...] | None = None

    def shown_to(self, namespace: str) -> bool:
        return self.visible_in is None or namespace in self.visible_in

    def known_by(self, known: Import) -> bool:
        """It is known whole if one of its hosts is."""
        return any(known.takes(self.namespace, host) for host in self.hosts)

    def closeness(self, hostname: str) -> int:
        """How closely one of its hosts means this one; 0: none does."""
        return max((_closeness(host, hostname) for host in self.hosts), default=0)


def _closeness(host: str, hostname: str) -> int:
    if host == hostname:
        return 1000
    return len(host) if host.startswith("*") and hostname.endswith(host[1:]) else 0


def chosen(published: tuple[Published, ...], hostname: str) -> Published | None:
    """Whose rules hold for a host: of those for some clients only, then of the others, the closest;
    of several the first."""
    scoped = [one for one in published if one.visible_in is not None and one.closeness(hostname)]
    free = [one for one in published if one.visible_in is None and one.closeness(hostname)]
    return max(scoped or free, key=lambda one: one.closeness(hostname), default=None)
