"""IST0116, IST0137, IST0144: pods whose services contradict each other, and the proxy's user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import PROXY, Population, has, is_control_plane, template

_PROXY_USER = 1337
_WAYPOINT = {"gateway.istio.io/managed": "istio.io-mesh-controller"}


def contradicting_services(items: Items) -> Iterator[Finding]:
    pods = Population(items)
    for item in items.of("Deployment"):
        if has(item.labels, _WAYPOINT) or not pods.in_mesh(template(item)):
            continue
        found = list(_ports(items, item))
        yield from _protocols(item, found)
        yield from _targets(item, found)


def _ports(items: Items, item: Item) -> Iterator[tuple[Item, Field]]:
    """Of the services that select the Deployment's pods."""
    labels = template(item).labels
    for service in items.of("Service"):
        selector = service.spec["selector"].labels
        if service.namespace == item.namespace and selector and has(labels, selector):
            yield from ((service, port) for port in service.spec["ports"].items)


def _protocols(item: Item, found: list[tuple[Item, Field]]) -> Iterator[Finding]:
    by_port: dict[str, dict[str, Item]] = defaultdict(dict)
    for service, port in found:
        by_port[port["port"].text].setdefault(port["protocol"].text or "TCP", service)
    for number, protocols in by_port.items():
        if len(protocols) > 1:
            who = ", ".join(f"{name} in {one.position}" for name, one in sorted(protocols.items()))
            message = f"its services have port {number} with two protocols ({who}); agree on one"
            yield Finding("IST0116", item, item.name_position, message)


def _targets(item: Item, found: list[tuple[Item, Field]]) -> Iterator[Finding]:
    by_target: dict[str, dict[str, Item]] = defaultdict(dict)
    for service, port in found:
        target = port["targetPort"].text
        target = port["port"].text if target in ("", "0") else target
        by_target[target].setdefault(port["port"].text, service)
    for target, ports in by_target.items():
        if len(ports) > 1:
            who = ", ".join(f"{number} in {one.position}" for number, one in sorted(ports.items()))
            message = (
                f"its services lead to port {target} under several numbers ({who}); policies of "
                "one hold for the other, too"
            )
            yield Finding("IST0137", item, item.name_position, message)


def reserved_user(items: Items) -> Iterator[Finding]:
    """What that user sends is taken for the proxy's and passes it by."""
    for kind, path in (("Pod", ()), ("Deployment", ("template", "spec"))):
        for item in items.of(kind):
            spec = item.spec
            for step in path:
                spec = spec[step]
            if not is_control_plane(item):
                yield from _users(item, spec)


def _users(item: Item, spec: Field) -> Iterator[Finding]:
    named = [one for one in spec["containers"].items if one["name"].text != PROXY]
    for holder in (spec, *named):
        user = holder["securityContext"]["runAsUser"]
        if user.number == _PROXY_USER:
            message = (
                f"runAsUser {_PROXY_USER} is the sidecar's own user: what the application sends "
                "passes it by; choose another"
            )
            yield Finding("IST0144", item, user.position, message)
