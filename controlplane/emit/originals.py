"""Clusters without hosts of their own: connections go on to where they were addressed when they
were intercepted (Envoy's ORIGINAL_DST)."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster

OWN_SOURCE = {False: "127.0.0.6", True: "::6"}
"""From where a sidecar connects to its application (by whether it is IPv6), so that rules of the
kernel know such connections and leave them alone (Istio's)."""


def go_as_addressed(cluster: Cluster) -> None:
    cluster.type = Cluster.ORIGINAL_DST
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    if (chosen := cluster.WhichOneof("lb_config")) is not None:
        cluster.ClearField(chosen)


def from_own_source(cluster: Cluster, ipv6: bool = False, dual: bool = False) -> None:
    """dual: there are hosts of the other family, too."""
    source = cluster.upstream_bind_config.source_address
    source.address = OWN_SOURCE[ipv6]
    source.port_value = 0
    if dual:
        more = cluster.upstream_bind_config.extra_source_addresses.add().address
        more.address = OWN_SOURCE[not ipv6]
        more.port_value = 0
