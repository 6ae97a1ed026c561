"""Decodes `UpgradeConfig` and `MaxStreamDuration`: what concerns streams that last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from envoy.config.core.v3 import proxy_protocol_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import choice, optional_seconds, value_or
from proxy.config.model import ConnectConfig, MaxStreamDuration, UpgradeConfig
from proxy.config.rejected import Rejected

_Message = route_components_pb2.RouteAction.UpgradeConfig
_VERSIONS: Mapping[int, Literal["V1", "V2"]] = {
    proxy_protocol_pb2.ProxyProtocolConfig.V1: "V1",
    proxy_protocol_pb2.ProxyProtocolConfig.V2: "V2",
}


def upgrade_configs(messages: Iterable[_Message], path: str) -> tuple[UpgradeConfig, ...]:
    found: dict[str, UpgradeConfig] = {}
    for i, message in enumerate(messages):
        kind = message.upgrade_type.lower()
        if kind in found:
            raise Rejected(f"{path}[{i}].upgrade_type", f"`{message.upgrade_type}` is there twice")
        found[kind] = _upgrade(message, kind, f"{path}[{i}]")
    return tuple(found.values())


def _upgrade(message: _Message, kind: str, path: str) -> UpgradeConfig:
    connect = None
    if message.HasField("connect_config"):
        if kind != "connect":
            raise Rejected(f"{path}.connect_config", "is only for the upgrade type CONNECT")
        connect = _connect(message.connect_config, f"{path}.connect_config")
    return UpgradeConfig(kind, value_or(message, "enabled", True), connect)


def _connect(message: _Message.ConnectConfig, path: str) -> ConnectConfig:
    version = None
    if message.HasField("proxy_protocol_config"):
        where = f"{path}.proxy_protocol_config.version"
        version = choice(_VERSIONS, message.proxy_protocol_config.version, where)
    return ConnectConfig(message.allow_post, version)


def max_stream_duration(
    message: route_components_pb2.RouteAction,
) -> MaxStreamDuration | None:
    if not message.HasField("max_stream_duration"):
        return None
    inner = message.max_stream_duration
    return MaxStreamDuration(
        optional_seconds(inner, "max_stream_duration"),
        optional_seconds(inner, "grpc_timeout_header_max"),
        optional_seconds(inner, "grpc_timeout_header_offset"),
    )
