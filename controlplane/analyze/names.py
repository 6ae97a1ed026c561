"""How Istio reads names in its configuration: hosts, namespaces to which something is exported."""

from __future__ import annotations

from controlplane.analyze.fields import Field

DOMAIN = "svc.cluster.local"
EVERYWHERE = "*"
MESH = "mesh"


def full_host(host: str, namespace: str) -> str:
    """A short name is a service's of the namespace; one with a dot or a '*' stands for itself."""
    if "." in host or host.startswith("*"):
        return host
    return f"{host}.{namespace}.{DOMAIN}"


def full_name(name: str, namespace: str) -> tuple[str, str]:
    """'namespace/name' or 'name' of the own namespace."""
    before, slash, after = name.partition("/")
    return (before, after) if slash else (namespace, name)


def scopes(export_to: Field, namespace: str) -> frozenset[str]:
    """The namespaces to which exportTo says something is visible, EVERYWHERE among them for all."""
    said = export_to.texts
    if not said or EVERYWHERE in said:
        return frozenset({EVERYWHERE})
    return frozenset(namespace if one == "." else one for one in said)


def meet(one: str, other: str) -> bool:
    """Whether two host names, with or without a leading '*', have any host in common."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    if other.startswith("*"):
        return one.endswith(other[1:])
    return one == other
