"""IST0107, IST0108, IST0125, IST0135: Istio's annotations where they do nothing.

The table is Istio's API (istio.io/docs/reference/config/annotations).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import INJECT

_KINDS = ("Namespace", "Service", "Pod", "Deployment")
_POD = (
    "ambient.istio.io/: bypass-inbound-capture redirection",
    "inject.istio.io/: templates",
    "istio.io/: rev",
    "prometheus.istio.io/: merge-metrics",
    "proxy.istio.io/: config overrides",
    "readiness.status.sidecar.istio.io/: applicationPorts failureThreshold initialDelaySeconds "
    "periodSeconds",
    "sidecar.istio.io/: agentLogLevel bootstrapOverride componentLogLevel discoveryAddress "
    "enableCoreDump extraStatTags inject interceptionMode logLevel nativeSidecar proxyCPU "
    "proxyCPULimit proxyImage proxyImageType proxyMemory proxyMemoryLimit rewriteAppHTTPProbers "
    "statsCompression statsHistogramBuckets statsInclusionPrefixes statsInclusionRegexps "
    "statsInclusionSuffixes status userVolume userVolumeMount",
    "status.sidecar.istio.io/: port",
    "traffic.sidecar.istio.io/: excludeInboundPorts excludeInterfaces excludeOutboundIPRanges "
    "excludeOutboundPorts includeInboundPorts includeOutboundIPRanges includeOutboundPorts "
    "kubevirtInterfaces",
    "istio.io/: reroute-virtual-interfaces",
)
_SERVICE = (
    "alpha.istio.io/: canonical-serviceaccounts kubernetes-serviceaccounts",
    "networking.istio.io/: exportTo traffic-distribution",
    "traffic.istio.io/: nodeSelector",
)
_OTHERS = {
    "ambient.istio.io/waypoint-inbound-binding": ("GatewayClass", "Gateway"),
    "gateway.istio.io/name-override": ("Gateway",),
    "gateway.istio.io/service-account": ("Gateway",),
    "istio.io/autoRegistrationGroup": ("WorkloadEntry",),
    "istio.io/connectedAt": ("WorkloadEntry",),
    "istio.io/disconnectedAt": ("WorkloadEntry",),
    "istio.io/dry-run": ("AuthorizationPolicy",),
    "istio.io/workloadController": ("WorkloadEntry",),
    "kubernetes.io/ingress.class": ("Ingress",),
    "networking.istio.io/service-type": ("Gateway",),
    "topology.istio.io/controlPlaneClusters": ("Namespace",),
}
SUPPRESS = "galley.istio.io/analyze-suppress"
_ANYWHERE = frozenset((SUPPRESS, "gateway.istio.io/controller-version"))
_ANY_OF = ("install.operator.istio.io/",)
_DEPRECATED = frozenset(
    (
        "alpha.istio.io/canonical-serviceaccounts",
        "alpha.istio.io/kubernetes-serviceaccounts",
        "sidecar.istio.io/discoveryAddress",
        "sidecar.istio.io/extraStatTags",
        "sidecar.istio.io/inject",
        "sidecar.istio.io/statsInclusionPrefixes",
        "sidecar.istio.io/statsInclusionRegexps",
        "sidecar.istio.io/statsInclusionSuffixes",
    )
)


def _spelled(lines: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        prefix, words = line.split(": ")
        yield from (prefix + word for word in words.split())


_PLACES: dict[str, tuple[str, ...]] = {
    **_OTHERS,
    **dict.fromkeys(_spelled(_POD), ("Pod",)),
    **dict.fromkeys(_spelled(_SERVICE), ("Service",)),
}


def misplaced(items: Items) -> Iterator[Finding]:
    for kind in _KINDS:
        for item in items.of(kind):
            for name, value in item.annotations.items():
                if _is_istios(name):
                    yield from _judged(item, name, value)


def _is_istios(name: str) -> bool:
    return name == "kubernetes.io/ingress.class" or name.partition("/")[0].endswith("istio.io")


def _judged(item: Item, name: str, value: str) -> Iterator[Finding]:
    position = item.body["metadata"]["annotations"][name].position
    if name in _ANYWHERE or name.startswith(_ANY_OF):
        return
    places = _PLACES.get(name)
    if places is None:
        yield Finding("IST0108", item, position, f"Istio knows no annotation {name!r}")
        return
    if name in _DEPRECATED and not (name == INJECT and INJECT in item.labels):
        message = f"the annotation {name!r} is deprecated"
        message += "; make it a label of the pods" if name == INJECT else ""
        yield Finding("IST0135", item, position, message)
    if item.kind not in places:
        where = ", ".join(places)
        hint = "; put it into spec.template.metadata" if item.kind == "Deployment" else ""
        message = f"the annotation {name!r} has an effect on a {where} only{hint}"
        yield Finding("IST0107", item, position, message)
    elif (expected := _VALUES.get(name)) and not expected[1](value):
        message = f"the annotation {name!r}: expected {expected[0]}, got {value!r}"
        yield Finding("IST0125", item, position, message)


# --------------------------------------------------------------------------- values


def _port(value: str) -> bool:
    return value.isdecimal() and int(value) <= 65535


def _ports(value: str) -> bool:
    return all(_port(one.strip()) for one in value.split(",") if one.strip())


def _ports_or_all(value: str) -> bool:
    return value == "*" or _ports(value)


def _ranges(value: str) -> bool:
    return value == "*" or all(_is_range(one.strip()) for one in value.split(",") if one.strip())


def _is_range(value: str) -> bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _mode(value: str) -> bool:
    return value in ("REDIRECT", "TPROXY", "NONE")


def _boolean(value: str) -> bool:
    return value in ("true", "false", "True", "False", "TRUE", "FALSE", "1", "0", "t", "f")


_TRAFFIC = "traffic.sidecar.istio.io/"
_STATUS = "readiness.status.sidecar.istio.io/"
_VALUES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "sidecar.istio.io/interceptionMode": ("REDIRECT, TPROXY or NONE", _mode),
    "sidecar.istio.io/enableCoreDump": ("true or false", _boolean),
    "sidecar.istio.io/rewriteAppHTTPProbers": ("true or false", _boolean),
    "status.sidecar.istio.io/port": ("a port number", _port),
    f"{_STATUS}initialDelaySeconds": ("a number", str.isdecimal),
    f"{_STATUS}periodSeconds": ("a number", str.isdecimal),
    f"{_STATUS}failureThreshold": ("a number", str.isdecimal),
    f"{_STATUS}applicationPorts": ("port numbers", _ports),
    f"{_TRAFFIC}includeOutboundIPRanges": ("IP ranges or *", _ranges),
    f"{_TRAFFIC}excludeOutboundIPRanges": ("IP ranges", _ranges),
    f"{_TRAFFIC}includeInboundPorts": ("port numbers or *", _ports_or_all),
    f"{_TRAFFIC}excludeInboundPorts": ("port numbers", _ports),
    f"{_TRAFFIC}includeOutboundPorts": ("port numbers", _ports),
    f"{_TRAFFIC}excludeOutboundPorts": ("port numbers", _ports),
}
