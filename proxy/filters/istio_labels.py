"""The labels of Istio's metrics: who called whom, by what service, and how it went.

A label whose value is not known is `unknown`, and an unknown revision is `latest`.
"""

from __future__ import annotations

from typing import Final

from proxy.config.model.istio import LATEST, UNKNOWN, Peer
from proxy.filters.api import ClusterView
from proxy.stats import Labels

NOBODY: Final = Peer()
MAX_VALUE_CHARACTERS: Final = 256
_BUILT_IN: Final = (
    "BlackHoleCluster",
    "PassthroughCluster",
    "InboundPassthroughCluster",
    "InboundPassthroughClusterIpv4",
    "InboundPassthroughClusterIpv6",
)
"""Istio's clusters that are no service; metrics call the service by their name."""


def of_endpoint(text: str) -> Peer:
    """Istio's metadata of an endpoint: `workload;namespace;service;revision;cluster`."""
    parts = text.split(";")
    if len(parts) < 5:
        return NOBODY
    workload, namespace, service, revision, cluster = parts[:5]
    return Peer(workload, namespace, service, revision, cluster=cluster)


def service_of(cluster: ClusterView | None, authority: str) -> tuple[str, str]:
    """(destination_service, destination_service_name): as the cluster says by its metadata, or by
    its name; `authority` where neither does."""
    if cluster is None:
        return authority, authority
    name = cluster.name
    if name in _BUILT_IN:
        return authority, name
    services = (cluster.metadata.get("istio") or {}).get("services")
    first = services[0] if isinstance(services, list) and services else None
    if isinstance(first, dict):
        host = str(first.get("host") or "")
        return host, str(first.get("name") or "") or _short(host)
    parts = name.split("|")
    if len(parts) != 4 or not parts[3]:
        return authority, authority
    return parts[3], _short(parts[3])


def _short(host: str) -> str:
    """Of a Kubernetes service its name, of others their host."""
    name, _, rest = host.partition(".")
    return name if ".svc." in f"{rest}." else host


def namespace_of(principal: str) -> str:
    """`spiffe://cluster.local/ns/default/sa/web`: default."""
    parts = principal.partition("/ns/")[2]
    return parts.partition("/")[0]


def workload_labels(side: str, who: Peer, principal: str) -> Labels:
    """side: `source` or `destination`. What a certificate says of the namespace counts first."""
    namespace = namespace_of(principal) or who.namespace
    return (
        (f"{side}_workload", who.workload or UNKNOWN),
        (f"{side}_canonical_service", who.canonical_service or UNKNOWN),
        (f"{side}_canonical_revision", who.canonical_revision or LATEST),
        (f"{side}_workload_namespace", namespace or UNKNOWN),
        (f"{side}_principal", principal or UNKNOWN),
        (f"{side}_app", who.app or UNKNOWN),
        (f"{side}_version", who.version or UNKNOWN),
        (f"{side}_cluster", who.cluster or UNKNOWN),
    )


def service_labels(host: str, name: str, namespace: str) -> Labels:
    return (
        ("destination_service", host[:MAX_VALUE_CHARACTERS] or UNKNOWN),
        ("destination_service_name", name[:MAX_VALUE_CHARACTERS] or UNKNOWN),
        ("destination_service_namespace", namespace or UNKNOWN),
    )
