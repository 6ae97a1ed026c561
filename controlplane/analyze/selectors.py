"""Resources that are each for the workloads they select: Sidecar and Telemetry. Who selects
nobody, and who selects the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import Pod, Population, has, selector_text
from protos.frozen import frozen


@frozen
class _Rules:
    """path: where the labels stand. overlapping, several: Istio's codes."""

    kind: str
    path: tuple[str, str]
    overlapping: str
    several: str


_SIDECAR = _Rules("Sidecar", ("workloadSelector", "labels"), "IST0110", "IST0111")
_TELEMETRY = _Rules("Telemetry", ("selector", "matchLabels"), "IST0159", "IST0160")


def sidecars(items: Items) -> Iterator[Finding]:
    """IST0101, IST0110, IST0111, IST0167."""
    pods = Population(items)
    ambient = [item for item in items.of("Sidecar", "istio.io") if pods.is_ambient(item.namespace)]
    yield from map(_without_sidecars, ambient)
    yield from _selecting(_SIDECAR, items, pods)
    yield from _for_all(_SIDECAR, items, pods)


def telemetry(items: Items) -> Iterator[Finding]:
    """IST0101, IST0159."""
    yield from _selecting(_TELEMETRY, items, Population(items))


def default_telemetry(items: Items) -> Iterator[Finding]:
    """IST0160."""
    yield from _for_all(_TELEMETRY, items, Population(items))


def _without_sidecars(item: Item) -> Finding:
    message = (
        f"has no effect: the namespace {item.namespace} is in ambient mode and has no sidecars; "
        "delete it, or label the namespace istio-injection=enabled"
    )
    return Finding("IST0167", item, item.position, message)


def _labels(rules: _Rules, item: Item) -> Field:
    return item.spec[rules.path[0]][rules.path[1]]


def _selecting(rules: _Rules, items: Items, pods: Population) -> Iterator[Finding]:
    by_pod: dict[str, list[Item]] = defaultdict(list)
    for item in items.of(rules.kind, "istio.io"):
        labels = _labels(rules, item)
        if not labels.labels or _is_ambient(rules, item, pods):
            continue
        found = pods.selected(labels.labels, item.namespace)
        for pod in found:
            by_pod[f"{pod.namespace}/{pod.name}"].append(item)
        if not found and pods.known:
            text = selector_text(labels.labels)
            message = f"spec.{'.'.join(rules.path)}: no pod of {item.namespace} has {text}"
            yield Finding("IST0101", item, labels.position, message)
    told: set[tuple[Item, Item]] = set()
    for pod_name, chosen in by_pod.items():
        for item in chosen:
            others = [one for one in chosen if one is not item and (item, one) not in told]
            told.update((item, one) for one in others)
            if others:
                message = f"selects the pod {pod_name} as {_who(others)} does; only one counts"
                yield Finding(rules.overlapping, item, _labels(rules, item).position, message)


def _for_all(rules: _Rules, items: Items, pods: Population) -> Iterator[Finding]:
    plain: dict[str, list[Item]] = defaultdict(list)
    for item in items.of(rules.kind, "istio.io"):
        refers = item.spec["targetRefs"] or item.spec["targetRef"]
        if not _labels(rules, item).labels and not refers and not _is_ambient(rules, item, pods):
            plain[item.namespace].append(item)
    for namespace, chosen in plain.items():
        for item in chosen if len(chosen) > 1 else ():
            others = [one for one in chosen if one is not item]
            message = (
                f"is for all of the namespace {namespace}, as {_who(others)} is; only one counts: "
                "merge them, or give one a selector"
            )
            yield Finding(rules.several, item, item.position, message)


def _is_ambient(rules: _Rules, item: Item, pods: Population) -> bool:
    return rules.kind == "Sidecar" and pods.is_ambient(item.namespace)


def _who(items: list[Item]) -> str:
    return ", ".join(f"{item.full_name} at {item.position}" for item in items)


_GATEWAY = "gateway.networking.k8s.io/gateway-name"
_POLICIES = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin")


def ineffective(items: Items) -> Iterator[Finding]:
    """IST0166: a selector does nothing at a Gateway of Gateway API; a targetRef does."""
    gateways: list[Pod] = [pod for pod in Population(items).every if _GATEWAY in pod.labels]
    for kind in _POLICIES:
        for item in items.of(kind, "istio.io"):
            labels = item.spec["selector"]["matchLabels"]
            if not labels or item.spec["targetRef"] or item.spec["targetRefs"]:
                continue
            for pod in gateways:
                if pod.namespace == item.namespace and has(pod.labels, labels.labels):
                    message = (
                        f"the selector has no effect on the Gateway {pod.labels[_GATEWAY]}; name "
                        "it in spec.targetRefs"
                    )
                    yield Finding("IST0166", item, labels.position, message)
