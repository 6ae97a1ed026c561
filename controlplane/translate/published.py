"""VirtualServices -> rules by themselves, where some client does not see what services have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from controlplane.kinds.export_to import namespaces_of
from controlplane.kinds.sidecar import Sidecar
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh.published import Published
from controlplane.translate import stream_rules
from controlplane.translate.delegates import Delegates
from controlplane.translate.destinations import Destinations
from controlplane.translate.index import Hosts, key_of
from controlplane.translate.memo import Each
from controlplane.translate.report import Report
from controlplane.translate.routes import concerns_mesh
from controlplane.translate.rules import RuleMaker


def build(
    each: Each,
    virtual_services: Sequence[VirtualService],
    sidecars: Sequence[Sidecar],
    lookups: tuple[Hosts, Delegates],
    exports: tuple[str, ...],
    report: Report,
) -> tuple[Published, ...]:
    """Of VirtualServices, the oldest first. Without a Sidecar that hides something only those for
    hosts that are no service's."""
    hides = any(one.spec.egress for one in sidecars)
    make = partial(_published, lookups, report)
    found = each("rules", key_of, make, (virtual_services,), (exports, hides))
    return tuple(one for one in found if one is not None)


def _published(
    lookups: tuple[Hosts, Delegates],
    report: Report,
    item: VirtualService,
    exports: tuple[str, ...],
    hides: bool,
) -> Published | None:
    hosts, delegates = lookups
    names = tuple(hosts.full_name(host, item.namespace) for host in item.spec.hosts)
    everywhere = all(hosts.matching(name) for name in names)
    if item.spec.is_delegate or not concerns_mesh(item) or (everywhere and not hides):
        return None
    return Published(
        item.namespace,
        names,
        RuleMaker(hosts, report, delegates).rules(item),
        stream_rules.rules(item, Destinations(hosts, report), report),
        namespaces_of(item.spec.export_to or exports, item.namespace),
    )
