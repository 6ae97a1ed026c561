"""A snapshot as JSON-ready data, for people. Private keys are left out, as Envoy does."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf import any_pb2, json_format

from controlplane.resources import TYPES, Resource, Snapshot
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS, short_name

_Message = Cluster | ClusterLoadAssignment | Listener | RouteConfiguration | VirtualHost
_CLASSES: dict[str, type[_Message]] = {
    CDS: Cluster,
    EDS: ClusterLoadAssignment,
    LDS: Listener,
    RDS: RouteConfiguration,
    VHDS: VirtualHost,
}


def dump(snapshot: Snapshot) -> dict[str, Any]:
    """{"version": ..., "CDS": {name: {"version": ..., "resource": {...}}}, ...}."""
    types = {
        short_name(type_url): {
            name: {"version": resource.version, "resource": _resource(type_url, resource)}
            for name, resource in sorted(snapshot.of(type_url).items())
        }
        for type_url in TYPES
    }
    return {"version": snapshot.version, **types}


def _resource(type_url: str, resource: Resource) -> dict[str, Any]:
    value = any_pb2.Any.FromString(resource.body).value
    if type_url == SDS:
        return _secret(value)
    message = _CLASSES[type_url].FromString(value)
    result: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return result


def _secret(value: bytes) -> dict[str, Any]:
    secret = Secret.FromString(value)
    if secret.HasField("tls_certificate"):
        secret.tls_certificate.private_key.inline_bytes = b"[redacted]"
    result: dict[str, Any] = json_format.MessageToDict(secret, preserving_proto_field_name=True)
    return result
