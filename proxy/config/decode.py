"""The door for dynamic resources: type URL and bytes in, a model object out, or Rejected.

`RESOURCES` is the one table of what xDS may bring. Static resources go through the same functions
of the `decode_*` modules, message by message, from `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.message import DecodeError

from protos.frozen import frozen
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.config.decode_cds import cluster
from proxy.config.decode_common import parse
from proxy.config.decode_eds import load_assignment
from proxy.config.decode_lds import listener
from proxy.config.decode_rds import fetched_host, route_configuration
from proxy.config.decode_tls import secret
from proxy.config.model import (
    Cluster,
    ClusterLoadAssignment,
    Listener,
    RouteConfiguration,
    Secret,
    VirtualHost,
)
from proxy.config.rejected import Rejected

Resource = Listener | RouteConfiguration | VirtualHost | Cluster | ClusterLoadAssignment | Secret


@frozen
class _Kind:
    message: Any
    name_field: str
    decode: Callable[[Any], Resource]


RESOURCES: Mapping[str, _Kind] = {
    CDS: _Kind(cluster_pb2.Cluster, "name", cluster),
    EDS: _Kind(endpoint_pb2.ClusterLoadAssignment, "cluster_name", load_assignment),
    LDS: _Kind(listener_pb2.Listener, "name", listener),
    RDS: _Kind(route_pb2.RouteConfiguration, "name", route_configuration),
    VHDS: _Kind(route_components_pb2.VirtualHost, "name", fetched_host),
    SDS: _Kind(secret_pb2.Secret, "name", secret),
}


def decode(type_url: str, value: bytes) -> Resource:
    """The model of one resource; its name must not be empty."""
    kind = RESOURCES[type_url]
    message = parse(kind.message, value)
    if not getattr(message, kind.name_field):
        raise Rejected(kind.name_field, "must not be empty")
    return kind.decode(message)


def model_name(model: Resource) -> str:
    """The name that other resources know it by."""
    return model.cluster_name if isinstance(model, ClusterLoadAssignment) else model.name


def name_of(type_url: str, value: bytes) -> str:
    """The name inside a resource (state of the world has no other); '' where it cannot be read."""
    kind = RESOURCES[type_url]
    try:
        name: str = getattr(kind.message.FromString(value), kind.name_field)
    except DecodeError:
        return ""
    return name
