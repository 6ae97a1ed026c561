"""The one table of xDS resource types: type URL <-> short name, in the order they are pushed.

Make before break: clusters and their endpoints come before the listeners and routes that name
them. Classes are not imported here, so that a reader pays only for the messages it uses.
"""

from __future__ import annotations

PREFIX = "type.googleapis.com/"

CDS = PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = PREFIX + "envoy.config.listener.v3.Listener"
RDS = PREFIX + "envoy.config.route.v3.RouteConfiguration"
VHDS = PREFIX + "envoy.config.route.v3.VirtualHost"
SDS = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
HEALTH = PREFIX + "istio.v1.HealthInformation"
"""By a request of this type Istio's agent tells how its workload is: ill, with an error_detail."""

PUSH_ORDER = (CDS, EDS, LDS, RDS, SDS)
SHORT_NAMES = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS", VHDS: "VHDS", SDS: "SDS"}


def short_name(type_url: str) -> str:
    """`CDS` for the cluster type URL; the last word of an unknown one."""
    return SHORT_NAMES.get(type_url) or type_url.rpartition(".")[2]
