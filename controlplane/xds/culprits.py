"""Whose fault it is that a proxy refuses a resource: objects that it is made of, and of these the
ones that changed since everybody was content.

A patch is to blame only if the resource is another one without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from controlplane.emit import clients, envoy, patches
from controlplane.emit.node import Node, seated
from controlplane.emit.patch_tables import ROUTES
from controlplane.inventory import Snapshot
from controlplane.kinds.cluster_node import Node as ClusterNode
from controlplane.kinds.core import Endpoints, EndpointSlice
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.objects import Object
from controlplane.kinds.pod import Pod
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.model import NOWHERE, Mesh, Position, Status
from controlplane.mesh.patches import EnvoyPatch
from controlplane.xds.refusals import Refusal
from controlplane.xds.troubles import name_of, named
from protos.frozen import frozen
from protos.types import CDS, LDS, RDS, VHDS, short_name

REJECTED = "Rejected"
MAX_BLAMED = 5
"""Objects: with more it would not help to name them."""
_ENDS = 200
"""Characters of the beginning and the end of a proxy's own words: Envoy's reason comes last."""
_MAX_TRIED = 32
"""Patches without which a resource is made for comparison; of more the kind decides."""
_NEVER = (Pod, EndpointSlice, Endpoints, ClusterNode)
_TYPES = {"CLUSTER": (CDS,), "EXTENSION_CONFIG": (LDS,)} | dict.fromkeys(ROUTES, (RDS, VHDS, LDS))
"""What a patch may change; listeners otherwise."""


@frozen
class _Suspect:
    """As in a Status. path: where in the object, '' for all of it."""

    object: str
    position: Position
    path: str = ""


class Culprits:
    """Remembers the objects of the last configuration that nobody refused, and whom it blamed for
    what is still refused."""

    def __init__(self) -> None:
        self._good = Snapshot()
        self._next = Snapshot()
        self._blamed: dict[Refusal, tuple[_Suspect, ...]] = {}

    def statuses(
        self, refusals: tuple[Refusal, ...], mesh: Mesh, objects: Snapshot
    ) -> tuple[Status, ...]:
        """Of each configuration in turn. objects: what `mesh` is made of."""
        if not refusals:
            if objects != self._next:
                self._good, self._next = self._next, objects
            self._blamed = {}
            return ()
        now = {str(one.key): one for one in objects.objects}
        changed = self._changed(now)
        before, self._blamed = self._blamed, {}
        found: dict[tuple[tuple[_Suspect, ...], str, str], list[Refusal]] = {}
        for one in refusals:
            known = before.get(one)
            suspects = _suspects(one, mesh, objects, changed) if known is None else known
            here = tuple(_placed(suspects, mesh, now))
            if suspects and not here:
                continue  # what is sent without them will have an answer of its own
            self._blamed[one] = suspects
            found.setdefault((here, one.type_url, one.message), []).append(one)
        return tuple(
            status for (suspects, *_), of in found.items() for status in _told(suspects, of)
        )

    def _changed(self, now: dict[str, Object]) -> dict[str, Object]:
        before = {str(one.key): one for one in self._good.objects}
        return {
            key: one
            for key, one in now.items()
            if not isinstance(one, _NEVER) and before.get(key) != one
        }


def _placed(
    suspects: tuple[_Suspect, ...], mesh: Mesh, now: dict[str, Object]
) -> Iterator[_Suspect]:
    """Those that are still there, where they stand now."""
    patched = {(one.object, one.path): one.position for one in mesh.patches}
    for one in suspects:
        if one.object in now:
            whole = now[one.object].position
            yield replace(one, position=patched.get((one.object, one.path), whole))


def _told(suspects: tuple[_Suspect, ...], of: list[Refusal]) -> Iterator[Status]:
    """An error where one is to blame, a warning where it may be another."""
    what = of[0]
    who = sorted({name_of(one.node) for one in of})
    words = " ".join(what.message.split()).rstrip(".")
    if len(words) > 2 * _ENDS:
        words = f"{words[:_ENDS]} ... {words[-_ENDS:]}"
    resources = f"{short_name(what.type_url)} {named(one.name for one in of)}"
    begin = f"{resources} is refused by {named(who)}: {words}"
    for one in suspects or [_Suspect(f"Proxy {name}", NOWHERE) for name in who]:
        at = f" ({one.path})" if one.path else ""
        others = dict.fromkeys(other.object for other in suspects if other.object != one.object)
        maybe = f"; it may also be {', '.join(others)}" if others else ""
        message = f"{begin}{at}. Correct it: what was there before stays{maybe}"
        yield Status(one.position, "warning" if others else "error", REJECTED, one.object, message)


def _suspects(
    refusal: Refusal, mesh: Mesh, objects: Snapshot, changed: dict[str, Object]
) -> tuple[_Suspect, ...]:
    known = (*_patches_of(refusal, mesh), *_rules_of(refusal, objects))
    found = [one for one in known if one.object in changed] or known
    if not found:
        found = [_Suspect(key, one.position) for key, one in changed.items()]
    found = tuple(dict.fromkeys(found))
    return found if len({one.object for one in found}) <= MAX_BLAMED else ()


def _rules_of(refusal: Refusal, objects: Snapshot) -> Iterator[_Suspect]:
    """Rules about the service that a cluster or a virtual host is of."""
    host = _host(refusal)
    if refusal.type_url == CDS:
        for rule in objects.of(DestinationRule):
            if _means(rule.spec.host, rule.namespace, host):
                yield _Suspect(str(rule.key), rule.position)
        return
    for routes in objects.of(VirtualService):
        if any(_means(one, routes.namespace, host) for one in routes.spec.hosts):
            yield _Suspect(str(routes.key), routes.position)


def _host(refusal: Refusal) -> str:
    """The name of the service, '' if the resource is of none, or of several."""
    if refusal.name.startswith("outbound|"):
        return refusal.name.rpartition("|")[2]
    if refusal.type_url == VHDS:
        return refusal.name.partition("/")[2].partition(":")[0]
    return ""


def _means(host: str, namespace: str, hostname: str) -> bool:
    """Whether a rule's host is that service, or one of its names."""
    if not hostname:
        return False
    if host.startswith("*"):
        return hostname.endswith(host[1:])
    full = host if "." in host else f"{host}.{namespace}"
    return hostname in (host, full) or hostname.startswith(f"{full}.svc.")


# --------------------------------------------------------------------------- patches


def _patches_of(refusal: Refusal, mesh: Mesh) -> Iterator[_Suspect]:
    """Those without which the resource would be another one."""
    node = refusal.node
    node = seated(node, mesh.workload_of(node.namespace, node.pod, node.workload))
    of = envoy.beside(mesh, node)
    ours = [one for one in of.patches if refusal.type_url in _TYPES.get(one.apply_to, (LDS,))]
    whole = _version(refusal, mesh, node, of) if 0 < len(ours) <= _MAX_TRIED else None
    for patch in ours:
        rest = tuple(one for one in of.patches if one is not patch)
        if whole is None or _version(refusal, mesh, node, replace(of, patches=rest)) != whole:
            yield _blamed(patch)


def _blamed(patch: EnvoyPatch) -> _Suspect:
    return _Suspect(patch.object, patch.position, patch.path)


def _version(refusal: Refusal, mesh: Mesh, node: Node, of: envoy.Beside) -> str | None:
    """Of the resource; None if it is none of the node's own, nor of a service."""
    made = envoy.sidecar(of, node)
    service = mesh.service(_host(refusal)) if refusal.type_url == CDS else None
    view = clients.seen_by(service, node) if service is not None else None
    if view is not None:
        alike = patches.of_scope(of.patches, node.intercepts)
        made += envoy.of_services((view,), mesh.own_domains, alike)
    found = made.encode()[refusal.type_url if refusal.type_url != VHDS else RDS]
    resource = found.get(refusal.name)
    return resource.version if resource is not None else None
