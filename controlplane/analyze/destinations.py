"""Where VirtualServices send requests: hosts, ports and subsets that there are not."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.hosts import Host, Hosts
from controlplane.analyze.items import Item, Items


def destinations(item: Item) -> Iterator[Field]:
    """Of all routes and mirrors."""
    for protocol in ("http", "tcp", "tls"):
        for rule in item.spec[protocol].items:
            for share in rule["route"].items:
                yield share["destination"]
            if rule["mirror"]:
                yield rule["mirror"]
            for mirror in rule["mirrors"].items:
                yield mirror["destination"]


def unknown_hosts(items: Items) -> Iterator[Finding]:
    """IST0101: no such host or port. IST0112: which port, of several? IST0140: what is routed
    within the mesh is not at a gateway."""
    hosts = Hosts(items)
    split = dict(_split(items))
    for item in items.of("VirtualService", "istio.io"):
        for wanted in destinations(item):
            name = wanted["host"]
            host = hosts.find(name.text, item.namespace, item.spec["exportTo"])
            if host is not None:
                yield from _port(item, wanted, host)
            elif name.text:
                message = f"host {name.text!r} is no service of the mesh; add a ServiceEntry for it"
                yield Finding("IST0101", item, name.position, message)
        yield from _unaffected(item, split)


def _port(item: Item, wanted: Field, host: Host) -> Iterator[Finding]:
    name, port = wanted["host"], wanted["port"]["number"]
    if port.number is None:
        if len(host.ports) > 1:
            ports = ", ".join(map(str, host.ports))
            message = f"host {name.text!r} has the ports {ports}; say which with port.number"
            yield Finding("IST0112", item, name.position, message)
    elif port.number not in host.ports:
        message = f"host {name.text!r} has no port {port.number}"
        yield Finding("IST0101", item, port.position, message)


def _split(items: Items) -> Iterator[tuple[str, Item]]:
    """Hosts that a VirtualService of the mesh divides into subsets."""
    for item in items.of("VirtualService", "istio.io"):
        for rule in item.spec["http"].items:
            for share in rule["route"].items:
                name = share["destination"]["host"].text
                if share["destination"]["subset"].text and name in item.spec["hosts"].texts:
                    yield name, item


def _unaffected(item: Item, split: dict[str, Item]) -> Iterator[Finding]:
    if not item.spec["gateways"].items:
        return
    for rule in item.spec["http"].items:
        for share in rule["route"].items:
            name = share["destination"]["host"]
            other = split.get(name.text)
            if other is None or share["destination"]["subset"].text:
                continue
            message = (
                f"requests from the gateway go to any version of {name.text!r}: the subsets of "
                f"{other.full_name} at {other.position} hold within the mesh only; name a subset "
                "here, or add the gateway there"
            )
            yield Finding("IST0140", item, name.position, message)


def unknown_subsets(items: Items) -> Iterator[Finding]:
    """IST0101: a subset that no DestinationRule has."""
    full_name = Hosts(items).full_name
    known = {
        (full_name(rule.spec["host"].text, rule.namespace), subset["name"].text)
        for rule in items.of("DestinationRule", "istio.io")
        for subset in rule.spec["subsets"].items
    }
    wide = [(host[1:], subset) for host, subset in known if host.startswith("*")]
    for item in items.of("VirtualService", "istio.io"):
        for wanted in destinations(item):
            subset, host = wanted["subset"], full_name(wanted["host"].text, item.namespace)
            if not subset.text or (host, subset.text) in known:
                continue
            if not any(host.endswith(end) and subset.text == name for end, name in wide):
                message = (
                    f"subset {subset.text!r} of {wanted['host'].text!r} is in no DestinationRule; "
                    "add it to spec.subsets of one"
                )
                yield Finding("IST0101", item, subset.position, message)
