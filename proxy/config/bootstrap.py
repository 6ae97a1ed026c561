"""Loads an Envoy v3 bootstrap, YAML or JSON, or says in one line where and why it cannot.

`load` is the door for the program, `decode_bootstrap` the same for a message that is there
already. Nothing is opened but this file and the files that the configuration itself names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.config.listener.v3 import listener_pb2

from proxy.config import references
from proxy.config.decode_cds import cluster
from proxy.config.decode_common import (
    PROGRAM_SIZE,
    bound_programs,
    checked,
    enum_name,
    ip_address,
    locality,
    plain_text,
    struct,
)
from proxy.config.decode_connecting import bind_config
from proxy.config.decode_lds import listener
from proxy.config.decode_source import source
from proxy.config.decode_tls import secret
from proxy.config.fields import UNSUPPORTED
from proxy.config.filters import DECODERS, FilterDecoders
from proxy.config.model import AdsConfig, Bootstrap, Cluster, Listener, Node, Secret
from proxy.config.positions import BadConfig, compose
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader
from proxy.runtime import flat

# Runtime keys that steer Envoy's own code, not the traffic: they have nothing to steer here.
_RUNTIME_OF_ENVOY = ("envoy.reloadable_features.", "envoy.restart_features.", "re2.")
_PROGRAM_SIZE_KEY = "re2.max_program_size.error_level"
# Those of its documentation that change what it does with traffic.
_STEERING = (
    "circuit_breakers.", "envoy.", "health_check.", "http.", "load_balancer.", "outlier_detection.",
    "overload.", "ratelimit.", "server.", "tls.", "tracing.", "upstream.",
)  # fmt: skip
_TRACING = frozenset(
    ("tracing.client_enabled", "tracing.random_sampling", "tracing.global_enabled")
) | {
    f"tracing.{tracer}.{key}"
    for tracer in ("opentelemetry", "zipkin")
    for key in ("min_flush_spans", "flush_interval_ms")
}
_CONNECTION_LIMIT = re.compile(r"envoy\.resource_limits\.listener\..+\.connection_limit")
_API = config_source_pb2.ApiConfigSource


def load(path: Path | str, decoders: FilterDecoders = DECODERS) -> Bootstrap:
    """The bootstrap in the file `path`. Raises BadConfig, whose text is one line for the user."""
    file = Path(path)
    root = compose(file)
    reader = Reader()
    message = bootstrap_pb2.Bootstrap()
    try:
        reader.read(root, message)
        return decode_bootstrap(message, decoders)
    except Rejected as error:
        raise BadConfig(str(path), reader.position(error.path), error) from None


def decode_bootstrap(
    message: bootstrap_pb2.Bootstrap, decoders: FilterDecoders = DECODERS
) -> Bootstrap:
    """`message` need not be checked yet. Raises Rejected."""
    checked(message)
    static, dynamic = message.static_resources, message.dynamic_resources
    ads = None
    if dynamic.HasField("ads_config"):
        ads = _ads(dynamic.ads_config, "dynamic_resources.ads_config")
        if ads.cluster not in [each.name for each in static.clusters]:
            path = "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name"
            raise Rejected(path, f"there is no static cluster `{ads.cluster}`")
    lds, cds = _source(dynamic, "lds_config"), _source(dynamic, "cds_config")
    runtime = _runtime(message)
    bound_programs(_program_size(runtime))
    found = Bootstrap(
        node=_node(message.node),
        admin=ip_address(message.admin.address, "admin.address")
        if message.admin.HasField("address")
        else None,
        ads=ads,
        lds_ads=lds == "",
        cds_ads=cds == "",
        lds_path=lds or "",
        cds_path=cds or "",
        listeners=_listeners(static.listeners, decoders),
        clusters=_clusters(static.clusters),
        secrets=_secrets(static),
        runtime=runtime,
        local_cluster_name=_local_cluster(message),
        sockets=bind_config(
            message.cluster_manager.upstream_bind_config, "cluster_manager.upstream_bind_config"
        ),
        outlier_event_log_path=message.cluster_manager.outlier_detection.event_log_path,
    )
    references.check(found)
    return found


def _local_cluster(message: bootstrap_pb2.Bootstrap) -> str:
    """Envoy wants it among the static clusters."""
    name: str = message.cluster_manager.local_cluster_name
    if name and name not in [each.name for each in message.static_resources.clusters]:
        path = "cluster_manager.local_cluster_name"
        raise Rejected(path, f"there is no static cluster `{name}`")
    return name


def _node(message: base_pb2.Node) -> Node:
    return Node(message.id, message.cluster, locality(message.locality), struct(message.metadata))


def _runtime(
    message: bootstrap_pb2.Bootstrap,
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Keys of the user's own are read where the configuration names them; of Envoy's own keys only
    the limit of connections and those that have nothing to steer here may stand there."""
    found: dict[str, Mapping[str, Any]] = {}
    for i, layer in enumerate(message.layered_runtime.layers):
        path = f"layered_runtime.layers[{i}]"
        if layer.name in found:
            raise Rejected(f"{path}.name", f"there is another layer `{layer.name}`")
        found[layer.name] = struct(layer.static_layer)
        for key, _ in sorted(flat(found[layer.name]), key=itemgetter(0)):
            known = key.startswith(_RUNTIME_OF_ENVOY) or _CONNECTION_LIMIT.fullmatch(key)
            if key.startswith(_STEERING) and not known and key not in _TRACING:
                where = f"{path}.static_layer.{key}"
                raise Rejected(where, f"this runtime key is {UNSUPPORTED}")
    return tuple(found.items())


def _program_size(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """How long regular expressions may be; a later layer counts. Envoy's default without one."""
    size = PROGRAM_SIZE
    for _, values in layers:
        given = dict(flat(values)).get(_PROGRAM_SIZE_KEY)
        if isinstance(given, int | float) and given >= 0:
            size = int(given)
    return size


def _source(dynamic: bootstrap_pb2.Bootstrap.DynamicResources, name: str) -> str | None:
    """'' for ADS, else a file; None where there is none of these."""
    if not dynamic.HasField(name):
        return None
    file = source(getattr(dynamic, name), f"dynamic_resources.{name}")
    if not file and not dynamic.HasField("ads_config"):
        raise Rejected(f"dynamic_resources.{name}", "says ads, and there is no ads_config")
    return file


def _ads(message: config_source_pb2.ApiConfigSource, path: str) -> AdsConfig:
    if message.api_type not in (_API.GRPC, _API.DELTA_GRPC):
        name = enum_name(_API.ApiType, message.api_type)
        raise Rejected(f"{path}.api_type", f"{name} is {UNSUPPORTED}; use GRPC or DELTA_GRPC")
    if message.transport_api_version == config_source_pb2.ApiVersion.V2:
        raise Rejected(f"{path}.transport_api_version", "version 2 of xDS is no longer in use")
    if len(message.grpc_services) != 1:
        raise Rejected(f"{path}.grpc_services", "needs exactly one service")
    service = message.grpc_services[0]
    _check_stream(service, f"{path}.grpc_services[0]")
    return AdsConfig(
        cluster=service.envoy_grpc.cluster_name,
        delta=message.api_type == _API.DELTA_GRPC,
        initial_metadata=tuple(
            (
                each.key.lower(),
                plain_text(each.value, f"{path}.grpc_services[0].initial_metadata[{i}].value"),
            )
            for i, each in enumerate(service.initial_metadata)
        ),
        set_node_on_first_message_only=message.set_node_on_first_message_only,
        authority=service.envoy_grpc.authority,
    )


def _check_stream(service: grpc_service_pb2.GrpcService, path: str) -> None:
    """What makes sense for single calls only; a `timeout` is not one of the stream's (Envoy)."""
    inner = service.envoy_grpc
    for holder, field in (
        (service, "retry_policy"),
        (inner, "retry_policy"),
        (inner, "max_receive_message_length"),
    ):
        if holder.HasField(field):
            where = path if holder is service else f"{path}.envoy_grpc"
            raise Rejected(f"{where}.{field}", f"{UNSUPPORTED} for the control plane's stream")


def _listeners(
    messages: Iterable[listener_pb2.Listener], decoders: FilterDecoders
) -> tuple[Listener, ...]:
    """Static ones need no name: Envoy makes one up, ours is their address."""
    found = []
    names: set[str] = set()
    for i, message in enumerate(messages):
        path = f"static_resources.listeners[{i}]"
        named = listener_pb2.Listener()
        named.CopyFrom(message)
        named.name = message.name or str(ip_address(message.address, f"{path}.address"))
        if named.name in names:
            raise Rejected(f"{path}.name", f"there is another listener `{named.name}`")
        names.add(named.name)
        found.append(listener(named, path, decoders))
    _unique_addresses(found)
    return tuple(found)


def _unique_addresses(listeners: Iterable[Listener]) -> None:
    seen: dict[str, str] = {}
    for i, each in enumerate(listeners):
        if not each.bind_to_port or (not each.address.path and not each.address.port):
            continue
        address = str(each.address)
        if address in seen:
            path = f"static_resources.listeners[{i}].address"
            raise Rejected(path, f"listener `{seen[address]}` has the address {address} already")
        seen[address] = each.name


def _clusters(messages: Iterable[cluster_pb2.Cluster]) -> tuple[Cluster, ...]:
    found: dict[str, Cluster] = {}
    for i, message in enumerate(messages):
        path = f"static_resources.clusters[{i}]"
        if message.name in found:
            raise Rejected(f"{path}.name", f"there is another cluster `{message.name}`")
        found[message.name] = cluster(message, path)
    return tuple(found.values())


def _secrets(static: bootstrap_pb2.Bootstrap.StaticResources) -> tuple[Secret, ...]:
    found: dict[str, Secret] = {}
    for i, message in enumerate(static.secrets):
        path = f"static_resources.secrets[{i}]"
        if message.name in found:
            raise Rejected(f"{path}.name", f"there is another secret `{message.name}`")
        found[message.name] = secret(message, path)
    return tuple(found.values())
