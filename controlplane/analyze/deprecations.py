"""IST0002: fields and kinds that Istio has given up."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Items

_REMOVED = frozenset(("ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"))


def deprecated(items: Items) -> Iterator[Finding]:
    for item in items.of("VirtualService", "istio.io"):
        for route in item.spec["http"].items:
            percent = route["fault"]["delay"]["percent"]
            if percent.number:
                message = "fault.delay.percent is deprecated; write percentage: {value: ...}"
                yield Finding("IST0002", item, percent.position, message)
    for item in items.of("Sidecar", "istio.io"):
        proxy = item.spec["outboundTrafficPolicy"]["egressProxy"]
        if proxy:
            message = (
                "outboundTrafficPolicy.egressProxy is ignored; route through an egress gateway "
                "with a VirtualService"
            )
            yield Finding("IST0002", item, proxy.position, message)
    for item in items.of("CustomResourceDefinition"):
        kind = item.spec["names"]["kind"]
        if item.spec["group"].text == "rbac.istio.io" and kind.text in _REMOVED:
            message = f"{kind.text} of rbac.istio.io was removed; write an AuthorizationPolicy"
            yield Finding("IST0002", item, kind.position, message)
