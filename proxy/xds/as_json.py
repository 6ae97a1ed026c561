"""Resources as JSON, for the admin's `/config_dump`.

Protobuf's JSON with the proto's own field names, as Envoy prints it. Every type that a decoder
may accept is imported, so an `Any` inside can be shown too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import DecodeError

from protos.types import CDS, LDS, RDS, SDS
from proxy.config.any_types import import_all
from proxy.config.decode import RESOURCES
from proxy.config.positions import BadConfig, compose
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader


def as_json(type_url: str, body: bytes) -> Mapping[str, Any]:
    """The fields of one resource, without `@type`. Never fails: what can't be shown says why."""
    import_all()
    try:
        message = RESOURCES[type_url].message.FromString(body)
        shown: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    except (Error, DecodeError, TypeError, KeyError) as error:
        return {"error": f"cannot be shown as JSON: {error}", "size_bytes": len(body)}
    return shown


def static_resources(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(type URL, name, body) of all that the bootstrap in the file `path` has, with the routes
    inside its listeners. Nothing where the file has gone or is another one that can't be read."""
    message = Bootstrap()
    try:
        Reader().read(compose(path), message)
    except (BadConfig, Rejected):
        return
    static = message.static_resources
    for listener in static.listeners:
        yield LDS, listener.name, listener.SerializeToString()
        yield from _routes(listener)
    for cluster in static.clusters:
        yield CDS, cluster.name, cluster.SerializeToString()
    for secret in static.secrets:
        yield SDS, secret.name, secret.SerializeToString()


def _routes(listener: Listener) -> Iterator[tuple[str, str, bytes]]:
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for one in chain.filters:
            manager = hcm_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("route_config"):
                routes = manager.route_config
                yield RDS, routes.name, routes.SerializeToString()
