"""The HTTP connection manager and the access log that every listener of ours has."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit.access import Guards
from controlplane.emit.words import packed, seconds

ACCESS_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default text format."""

DENIED_AT = " %DYNAMIC_METADATA(weft.rbac:source)%"
"""Behind it where policies hold: the place of the rule that denied. Envoy has '-' there."""

HttpConnectionManager = hcm_pb2.HttpConnectionManager

HCM = "envoy.filters.network.http_connection_manager"
NO_GUARDS = Guards()
NEW_LINE = "\n"


def inspector() -> ListenerFilter:
    """Tells TLS from plain text, and finds the server name, which Envoy does not do by itself."""
    config = packed(TlsInspector())
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=config)


def as_filter(made: HttpConnectionManager) -> Filter:
    return Filter(name=HCM, typed_config=packed(made))


def access_log(guards: Guards) -> AccessLog:
    text = ACCESS_LOG_FORMAT
    if guards.access or guards.tokens:
        text = f"{text.removesuffix(NEW_LINE)}{DENIED_AT}{NEW_LINE}"
    log_format = SubstitutionFormatString(text_format_source=DataSource(inline_string=text))
    log = packed(StdoutAccessLog(log_format=log_format))
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=log)


def manager(
    stat_prefix: str, guards: Guards = NO_GUARDS, guarding: Iterable[hcm_pb2.HttpFilter] = ()
) -> hcm_pb2.HttpConnectionManager:
    """What inbound and outbound share, as in Istio: WebSocket passes, and streams have no idle
    timeout. guarding: filters that stand before the router."""
    made = HttpConnectionManager(
        stat_prefix=stat_prefix,
        access_log=[access_log(guards)],
        http_filters=[
            *guarding,
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router())),
        ],
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        stream_idle_timeout=seconds(0),
    )
    made.normalize_path.value = True
    made.http_protocol_options.accept_http_10 = True
    return made
