"""Access logs in Envoy's words: where to, in which format, and of which streams."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog as EnvoyLog
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ComparisonFilter
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StderrAccessLog, StdoutAccessLog
from google.protobuf import json_format

from controlplane.emit import log_services
from controlplane.emit.formatters import formatters
from controlplane.emit.matches import header
from controlplane.emit.words import packed
from controlplane.mesh.telemetry import (
    ALWAYS,
    NEVER,
    STDOUT,
    AccessLog,
    Compared,
    Every,
    HeaderTest,
    Logs,
    LogTest,
)

TEXT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)
"""Istio's default."""

JSON_FORMAT: Mapping[str, str] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
"""The same for JSON, in Istio's names."""

DENIED_AT = "%DYNAMIC_METADATA(weft.rbac:source)%"
"""Behind Istio's formats where policies hold: the place of the rule that denied. Envoy has '-'."""

NO_RUNTIME_KEY = "istio.io/unset"
"""Envoy wants one; nothing sets it."""

DEFAULT = Logs()
_OPS: Mapping[str, ComparisonFilter.Op] = {
    "EQ": ComparisonFilter.EQ,
    "NE": ComparisonFilter.NE,
    "GE": ComparisonFilter.GE,
    "LE": ComparisonFilter.LE,
}


def envoy_logs(logs: Iterable[AccessLog], guarded: bool) -> list[EnvoyLog]:
    """guarded: policies hold there. A log that takes nothing is none."""
    return [_log(one, guarded) for one in logs if one.wanted != NEVER]


def _log(log: AccessLog, guarded: bool) -> EnvoyLog:
    wanted = _filter(log.wanted) if log.wanted != ALWAYS else None
    if log.service is not None:
        config = log_services.logger(log.service, _text("", guarded))
        name = log_services.NAMES[log.service.kind]
        return EnvoyLog(name=name, typed_config=config, filter=wanted)
    wording = _format(log, guarded)
    wording.omit_empty_values = log.omits_empty
    wording.formatters.extend(formatters((log.format,)))
    if log.path == STDOUT:
        config = packed(StdoutAccessLog(log_format=wording))
        return EnvoyLog(name="envoy.access_loggers.stdout", typed_config=config, filter=wanted)
    if log.path == "/dev/stderr":
        config = packed(StderrAccessLog(log_format=wording))
        return EnvoyLog(name="envoy.access_loggers.stderr", typed_config=config, filter=wanted)
    config = packed(FileAccessLog(path=log.path, log_format=wording))
    return EnvoyLog(name="envoy.access_loggers.file", typed_config=config, filter=wanted)


def _format(log: AccessLog, guarded: bool) -> SubstitutionFormatString:
    if log.encoding == "JSON":
        fields = dict(JSON_FORMAT) | ({"denied_at": DENIED_AT} if guarded else {})
        made = SubstitutionFormatString()
        tree = json.loads(log.format) if log.format else fields
        json_format.ParseDict(tree, made.json_format)
        return made
    source = DataSource(inline_string=_text(log.format, guarded))
    return SubstitutionFormatString(text_format_source=source)


def _text(given: str, guarded: bool) -> str:
    text = given or (f"{TEXT_FORMAT} {DENIED_AT}" if guarded else TEXT_FORMAT)
    return text if text.endswith("\n") else f"{text}\n"


# --------------------------------------------------------------------------- filters


def _filter(test: LogTest) -> AccessLogFilter:
    made = AccessLogFilter()
    if isinstance(test, Compared):
        _set_comparison(made, test)
    elif isinstance(test, HeaderTest):
        wanted = header(test.name, test.match, invert=test.inverted)
        made.header_filter.header.CopyFrom(wanted)
    elif isinstance(test, Every):
        made.and_filter.filters.extend(map(_filter, test.tests))
    else:
        made.or_filter.filters.extend(map(_filter, test.tests))
    return made


def _set_comparison(made: AccessLogFilter, test: Compared) -> None:
    part: accesslog_pb2.StatusCodeFilter | accesslog_pb2.DurationFilter
    part = made.status_code_filter if test.of == "status" else made.duration_filter
    part.comparison.op = _OPS[test.op]
    part.comparison.value.default_value = test.value
    part.comparison.value.runtime_key = NO_RUNTIME_KEY
