"""IST0134, IST0177: ServiceEntries without addresses, or that contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.mesh_settings import proxy_metadata
from controlplane.analyze.names import EVERYWHERE, scopes

_OPAQUE = ("", "TCP")


def missing_addresses(items: Items) -> Iterator[Finding]:
    """Of TCP nothing is known but the address, unless names are captured and given one."""
    metadata = proxy_metadata(items)
    captured = metadata.get("ISTIO_META_DNS_CAPTURE") == "true"
    if captured and metadata.get("ISTIO_META_DNS_AUTO_ALLOCATE") == "true":
        return
    for entry in items.of("ServiceEntry", "istio.io"):
        if entry.spec["addresses"] or entry.body["status"]["addresses"].items:
            continue
        for port in entry.spec["ports"].items:
            if port["protocol"].text.upper() in _OPAQUE:
                message = (
                    f"port {port['number'].text} speaks TCP and has no address by which it could "
                    "be known: name spec.addresses, or a protocol with names (HTTP, HTTPS, TLS)"
                )
                yield Finding("IST0134", entry, port.position, message)


_Key = tuple[str, str, str]


def conflicting_protocols(items: Items) -> Iterator[Finding]:
    """One host and port, and two protocols."""
    said: dict[_Key, list[tuple[Item, Field]]] = defaultdict(list)
    for entry in items.of("ServiceEntry", "istio.io"):
        for scope in scopes(entry.spec["exportTo"], entry.namespace):
            for host in entry.spec["hosts"].texts:
                for port in entry.spec["ports"].items:
                    said[scope, host, port["number"].text].append((entry, port))
    told: set[Item] = set()
    for (scope, host, number), own in said.items():
        every = own + (said.get((EVERYWHERE, host, number), []) if scope != EVERYWHERE else [])
        protocols = sorted({port["protocol"].text.upper() for _, port in every})
        for entry, port in every if len(protocols) > 1 else ():
            if entry not in told:
                told.add(entry)
                who = ", ".join(
                    sorted(
                        {f"{o.full_name} at {o.position}" for o, _ in every}
                        - {f"{entry.full_name} at {entry.position}"}
                    )
                )
                message = (
                    f"{host}:{number} is {port['protocol'].text or 'TCP'} here and something else "
                    f"in {who} ({', '.join(protocols)}): only one counts; agree on one"
                )
                yield Finding("IST0177", entry, port.position, message)
