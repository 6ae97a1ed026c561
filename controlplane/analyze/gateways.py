"""What is wrong with Istio's Gateways: ports, certificates, and who else has the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items
from controlplane.analyze.names import meet
from controlplane.analyze.population import (
    GATEWAY_PORTS,
    Pod,
    Population,
    has,
    selector_text,
)
from controlplane.analyze.tls_secrets import fault_of


def _gateways(items: Items) -> list[Item]:
    return items.of("Gateway", "networking.istio.io")


def unopened_ports(items: Items) -> Iterator[Finding]:
    """IST0101: no pod is the gateway. IST0162: a port that its service doesn't have."""
    pods = Population(items)
    for gateway in _gateways(items):
        selector = gateway.spec["selector"]
        found = pods.selected(selector.labels)
        if not found:
            yield from _nobody(gateway, pods)
            continue
        opened = _opened(items, found)
        for server in gateway.spec["servers"].items:
            port = server["port"]["number"]
            if opened is not None and port.number is not None and port.number not in opened:
                message = (
                    f"port {port.number} is on no service of the pods with "
                    f"{selector_text(selector.labels)}: from outside it can't be reached; add it "
                    "to the service's ports"
                )
                yield Finding("IST0162", gateway, port.position, message)


def _nobody(gateway: Item, pods: Population) -> Iterator[Finding]:
    if pods.known:
        text = selector_text(gateway.spec["selector"].labels)
        message = f"spec.selector: no pod has {text}; correct it, or deploy the gateway"
        yield Finding("IST0101", gateway, gateway.position, message)


def _opened(items: Items, pods: list[Pod]) -> set[int] | None:
    """Ports of the services of these pods. None: some are no pods at all, but machines."""
    opened = set[int]()
    for pod in pods:
        if pod.item is None:
            opened |= GATEWAY_PORTS
        elif pod.spec is None:
            return None
        else:
            opened.update(_ports(items, pod))
    return opened


def _ports(items: Items, pod: Pod) -> Iterator[int]:
    """Of the services that select it, with what they lead to."""
    for service in items.of("Service"):
        selector = service.spec["selector"].labels
        if service.namespace != pod.namespace or not selector or not has(pod.labels, selector):
            continue
        for port in service.spec["ports"].items:
            if port["protocol"].text in ("", "TCP"):
                yield from (n for n in (port["port"].number, port["targetPort"].number) if n)


def bad_credentials(items: Items) -> Iterator[Finding]:
    """IST0101: no such secret beside the gateway's pods. IST0161: it has no certificate that can
    be used."""
    pods = Population(items)
    for gateway in _gateways(items):
        found = pods.selected(gateway.spec["selector"].labels)
        if not found:
            yield from _nobody(gateway, pods)
            continue
        for server in gateway.spec["servers"].items:
            named = server["tls"]["credentialName"]
            if not named.text:
                continue
            name = named.text.removeprefix("kubernetes://")
            secret = items.find("Secret", found[0].namespace, name.rpartition("/")[2])
            if secret is None:
                message = (
                    f"there is no secret {name!r} in the namespace {found[0].namespace} of the "
                    "gateway's pods; create it there"
                )
                yield Finding("IST0101", gateway, named.position, message)
            elif (fault := fault_of(secret, items.now)) is not None:
                message = f"the secret {name!r} at {secret.position} {fault}"
                yield Finding("IST0161", gateway, named.position, message)


def shared_certificates(items: Items) -> Iterator[Finding]:
    """IST0138: one certificate in two gateways of the same pods: a browser sends the requests for
    both over one connection of HTTP/2, and the first gateway has no route for the other's."""
    every = _gateways(items)
    for gateway in every:
        own = {_certificate(one["tls"]): one for one in gateway.spec["servers"].items}
        for other in every:
            if other is gateway or not _covered(gateway, other):
                continue
            theirs = {_certificate(one["tls"]) for one in other.spec["servers"].items}
            for same in sorted((own.keys() & theirs) - {None}, key=str):
                message = (
                    f"{other.full_name} at {other.position} has the same certificate: clients that "
                    "use one connection for both get 404; make one Gateway of them"
                )
                yield Finding("IST0138", gateway, own[same]["tls"].position, message)


def _covered(gateway: Item, other: Item) -> bool:
    """Whoever is the other gateway is this one, too."""
    return has(other.spec["selector"].labels, gateway.spec["selector"].labels)


def _certificate(tls: Field) -> tuple[str, str] | None:
    if tls["credentialName"].text:
        return tls["credentialName"].text, ""
    files = tls["serverCertificate"].text, tls["privateKey"].text
    return files if all(files) else None


def conflicts(items: Items) -> Iterator[Finding]:
    """IST0145: a port and a host that another Gateway of the same pods has."""
    every = _gateways(items)
    for gateway in every:
        for server in gateway.spec["servers"].items:
            clashes = partial(_clash, gateway, server)
            others = [one for one in every if one is not gateway and clashes(one)]
            if others:
                who = ", ".join(f"{one.full_name} at {one.position}" for one in others)
                message = (
                    f"port {server['port']['number'].text} with the same hosts is {who}, too, and "
                    "only one counts; merge them, or divide the hosts"
                )
                yield Finding("IST0145", gateway, server.position, message)


def _clash(gateway: Item, server: Field, other: Item) -> bool:
    if gateway.spec["selector"].labels != other.spec["selector"].labels:
        return False
    port = server["port"]["number"].text
    return any(
        theirs["port"]["number"].text == port
        and any(meet(one, two) for one in server["hosts"].texts for two in theirs["hosts"].texts)
        for theirs in other.spec["servers"].items
    )
