"""What is wrong with DestinationRules: hosts and subsets that nobody is, servers unverified."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.hosts import Host, Hosts
from controlplane.analyze.items import Item, Items
from controlplane.analyze.population import Population, has

_ORIGINATED = ("SIMPLE", "MUTUAL")


def unverified_servers(items: Items) -> Iterator[Finding]:
    """IST0128, IST0129: TLS without the authority by which a server is judged."""
    for rule in items.of("DestinationRule", "istio.io"):
        policy = rule.spec["trafficPolicy"]
        if _lacks_authority(rule, policy["tls"]):
            yield _unverified("IST0128", rule, policy["tls"])
        for level in policy["portLevelSettings"].items:
            if _lacks_authority(rule, level["tls"]):
                yield _unverified("IST0129", rule, level["tls"])


def _lacks_authority(rule: Item, tls: Field) -> bool:
    """A credential has the authority with it, but is only looked at where a selector says whose
    it is."""
    if tls["mode"].text not in _ORIGINATED or tls["caCertificates"].text:
        return False
    return not (tls["credentialName"].text and rule.spec["workloadSelector"])


def _unverified(code: str, rule: Item, tls: Field) -> Finding:
    message = (
        f"tls.mode {tls['mode'].text} without caCertificates: the server is verified by the "
        "system's roots only; set caCertificates, or credentialName with a workloadSelector, if "
        "its authority is one of your own"
    )
    return Finding(code, rule, tls["mode"].position, message)


def unknown_subsets(items: Items) -> Iterator[Finding]:
    """IST0174: no such host. IST0173: a subset that no pod is of."""
    hosts, pods = Hosts(items), Population(items)
    for rule in items.of("DestinationRule", "istio.io"):
        name = rule.spec["host"]
        if name.text.startswith("*") and hosts.some(name.text):
            continue
        host = hosts.find(name.text, rule.namespace, rule.spec["exportTo"])
        if host is None:
            message = f"spec.host: {name.text!r} is no service of the mesh; add a ServiceEntry"
            yield Finding("IST0174", rule, name.position, message)
        elif pods.known:
            yield from _empty_subsets(rule, host, pods)


def _empty_subsets(rule: Item, host: Host, pods: Population) -> Iterator[Finding]:
    inline = [one["labels"].labels for one in host.item.spec["endpoints"].items]
    for subset in rule.spec["subsets"].items:
        wanted = subset["labels"].labels
        everything = {**host.selector, **wanted}
        if pods.selected(everything, host.item.namespace):
            continue
        if not any(has(labels, wanted) for labels in inline):
            message = (
                f"subset {subset['name'].text!r} selects no pod: requests for it get 503; correct "
                "its labels, or deploy what it is for"
            )
            yield Finding("IST0173", rule, subset.position, message)
