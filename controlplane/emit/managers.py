"""The HTTP connection manager that every listener of ours has, and its access logs."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog as EnvoyLog
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.access import Guards
from controlplane.emit.access_logs import envoy_logs
from controlplane.emit.metering import NO_STEPS, Steps
from controlplane.emit.words import packed, seconds
from controlplane.mesh.telemetry import AccessLog

HttpConnectionManager = hcm_pb2.HttpConnectionManager

HCM = "envoy.filters.network.http_connection_manager"
NO_GUARDS = Guards()
DEFAULT_LOGS = (AccessLog(),)


def inspector() -> ListenerFilter:
    """Tells TLS from plain text, and finds the server name, which Envoy does not do by itself."""
    config = packed(TlsInspector())
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=config)


def as_filter(made: HttpConnectionManager) -> Filter:
    return Filter(name=HCM, typed_config=packed(made))


def access_logs(logs: Iterable[AccessLog], guards: Guards) -> list[EnvoyLog]:
    return envoy_logs(logs, bool(guards.access or guards.tokens))


def manager(
    stat_prefix: str,
    guards: Guards = NO_GUARDS,
    guarding: Iterable[hcm_pb2.HttpFilter] = (),
    logs: Iterable[AccessLog] = DEFAULT_LOGS,
    counting: Steps = NO_STEPS,
) -> hcm_pb2.HttpConnectionManager:
    """What inbound and outbound share, as in Istio: WebSocket passes, and streams have no idle
    timeout. guarding: filters that stand before the router. counting: what metrics are made by."""
    made = HttpConnectionManager(
        stat_prefix=stat_prefix,
        access_log=access_logs(logs, guards),
        http_filters=[
            *counting.first,
            *guarding,
            *counting.last,
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router())),
        ],
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        stream_idle_timeout=seconds(0),
    )
    made.normalize_path.value = True
    made.http_protocol_options.accept_http_10 = True
    return made
