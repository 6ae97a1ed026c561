"""Decodes the `HttpConnectionManager` network filter, with its HTTP filters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.any_pb2 import Any as Any_

from proxy.config.decode_access_log import access_logs
from proxy.config.decode_client_address import (
    check_request_ids,
    internal_addresses,
    request_ids,
    trusted_hops,
)
from proxy.config.decode_common import (
    choice,
    enum_name,
    optional_seconds,
    seconds_or,
    type_name,
    unsupported_type,
    value_or,
)
from proxy.config.decode_http1 import http1_options
from proxy.config.decode_http2 import http2_options
from proxy.config.decode_local_reply import local_reply_config
from proxy.config.decode_protocol import common_http
from proxy.config.decode_rds import route_configuration
from proxy.config.decode_source import source
from proxy.config.decode_typed_struct import TYPED_STRUCTS, open_struct
from proxy.config.fields import UNSUPPORTED
from proxy.config.filters import STRUCTS, FilterDecoders
from proxy.config.filters.decode_router import TYPE_URL as ROUTER
from proxy.config.filters.decode_router import RouterConfig
from proxy.config.model import (
    Http2Options,
    HttpConnectionManager,
    HttpFilter,
    ManagerUpgrade,
    RouteConfiguration,
    XfccMode,
)
from proxy.config.rejected import Rejected

_H = hcm_pb2.HttpConnectionManager
ServerHeader = Literal["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"]
EscapedSlashes = Literal[
    "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"
]
Codec = Literal["AUTO", "HTTP1", "HTTP2"]
CertDetail = Literal["subject", "cert", "chain", "dns", "uri"]

_CODECS: Mapping[int, Codec] = {_H.AUTO: "AUTO", _H.HTTP1: "HTTP1", _H.HTTP2: "HTTP2"}
_UNDERSCORES: Mapping[int, Literal["ALLOW", "REJECT_REQUEST", "DROP_HEADER"]] = {
    protocol_pb2.HttpProtocolOptions.ALLOW: "ALLOW",
    protocol_pb2.HttpProtocolOptions.REJECT_REQUEST: "REJECT_REQUEST",
    protocol_pb2.HttpProtocolOptions.DROP_HEADER: "DROP_HEADER",
}
_SERVER_HEADERS: Mapping[int, ServerHeader] = {
    _H.OVERWRITE: "OVERWRITE",
    _H.APPEND_IF_ABSENT: "APPEND_IF_ABSENT",
    _H.PASS_THROUGH: "PASS_THROUGH",
}
_SLASHES: Mapping[int, EscapedSlashes] = {
    _H.IMPLEMENTATION_SPECIFIC_DEFAULT: "KEEP_UNCHANGED",
    _H.KEEP_UNCHANGED: "KEEP_UNCHANGED",
    _H.REJECT_REQUEST: "REJECT_REQUEST",
    _H.UNESCAPE_AND_REDIRECT: "UNESCAPE_AND_REDIRECT",
    _H.UNESCAPE_AND_FORWARD: "UNESCAPE_AND_FORWARD",
}
_XFCC: Mapping[int, XfccMode] = {
    _H.SANITIZE: "SANITIZE",
    _H.FORWARD_ONLY: "FORWARD_ONLY",
    _H.APPEND_FORWARD: "APPEND_FORWARD",
    _H.SANITIZE_SET: "SANITIZE_SET",
    _H.ALWAYS_FORWARD_ONLY: "ALWAYS_FORWARD_ONLY",
}


def connection_manager(
    message: hcm_pb2.HttpConnectionManager, path: str, decoders: FilterDecoders
) -> HttpConnectionManager:
    """`message` must be checked. The last HTTP filter must be the router and no other one may."""
    # Longer than functions are here: one line per field, and cutting it would hide one.
    rds_name, rds_path, route_config = _routes(message, path)
    filters = _http_filters(message.http_filters, f"{path}.http_filters", decoders)
    check_request_ids(message, path)
    last = filters[-1].config
    router = last if isinstance(last, RouterConfig) else RouterConfig()
    manager = HttpConnectionManager(
        stat_prefix=message.stat_prefix,
        rds_name=rds_name,
        rds_path=rds_path,
        route_config=route_config,
        filters=filters,
        access_log=access_logs(message.access_log, f"{path}.access_log"),
        logs_new_requests=message.access_log_options.flush_access_log_on_new_request
        or message.flush_access_log_on_new_request,
        log_interval_s=_log_interval_s(message, path),
        use_remote_address=message.use_remote_address.value,
        xff_num_trusted_hops=trusted_hops(message, path),
        internal_addresses=internal_addresses(message, path),
        scheme_to_overwrite=message.scheme_header_transformation.scheme_to_overwrite,
        append_x_forwarded_port=message.append_x_forwarded_port,
        skip_xff_append=message.skip_xff_append,
        server_name=message.server_name or "envoy",
        server_header=choice(
            _SERVER_HEADERS,
            message.server_header_transformation,
            f"{path}.server_header_transformation",
        ),
        generate_request_id=value_or(message, "generate_request_id", True),
        preserve_external_request_id=message.preserve_external_request_id,
        packs_trace_reason=value_or(request_ids(message), "pack_trace_reason", True),
        always_set_request_id_in_response=message.always_set_request_id_in_response,
        forward_client_cert=choice(
            _XFCC, message.forward_client_cert_details, f"{path}.forward_client_cert_details"
        ),
        client_cert_details=_cert_details(message.set_current_client_cert_details),
        via=message.via,
        local_reply=local_reply_config(message.local_reply_config, f"{path}.local_reply_config")
        if message.HasField("local_reply_config")
        else None,
        suppress_envoy_headers=router.suppress_envoy_headers,
        strict_check_headers=router.strict_check_headers,
        respect_expected_rq_timeout=router.respect_expected_rq_timeout,
    )
    if message.HasField("tracing"):
        from proxy.config.decode_tracing import manager_tracing  # few have it

        manager = replace(manager, tracing=manager_tracing(message, path))
    return _with_protocols(_with_paths(manager, message, path), message, path, decoders)


def _with_paths(
    manager: HttpConnectionManager, message: hcm_pb2.HttpConnectionManager, path: str
) -> HttpConnectionManager:
    """What is done to paths and hosts before the route is looked for."""
    if message.strip_matching_host_port and message.strip_any_host_port:
        raise Rejected(path, "strip_matching_host_port and strip_any_host_port are both set")
    return replace(
        manager,
        normalize_path=message.normalize_path.value,
        merge_slashes=message.merge_slashes,
        escaped_slashes=choice(
            _SLASHES,
            message.path_with_escaped_slashes_action,
            f"{path}.path_with_escaped_slashes_action",
        ),
        strip_matching_host_port=message.strip_matching_host_port,
        strip_any_host_port=message.strip_any_host_port,
        strip_trailing_host_dot=message.strip_trailing_host_dot,
    )


def _with_protocols(
    manager: HttpConnectionManager,
    message: hcm_pb2.HttpConnectionManager,
    path: str,
    decoders: FilterDecoders,
) -> HttpConnectionManager:
    """Versions of HTTP, their limits, and how long things may take."""
    common = common_http(message.common_http_protocol_options)
    return replace(
        manager,
        codec=_codec(message.codec_type, f"{path}.codec_type"),
        http2=_http2(message, path),
        accept_http_10=message.http_protocol_options.accept_http_10,
        default_host_for_http_10=message.http_protocol_options.default_host_for_http_10,
        idle_timeout_s=common.idle_timeout_s,
        max_connection_duration_s=common.max_connection_duration_s,
        max_requests_per_connection=common.max_requests_per_connection,
        max_headers_count=common.max_headers_count,
        max_request_headers_kb=value_or(message, "max_request_headers_kb", 60),
        stream_idle_timeout_s=seconds_or(message, "stream_idle_timeout", 300.0),
        request_timeout_s=seconds_or(message, "request_timeout", 0.0),
        request_headers_timeout_s=seconds_or(message, "request_headers_timeout", 0.0),
        drain_timeout_s=seconds_or(message, "drain_timeout", 5.0),
        delayed_close_timeout_s=seconds_or(message, "delayed_close_timeout", 1.0),
        upgrades=_upgrades(message, path, decoders),
        proxy_100_continue=message.proxy_100_continue,
        underscores=choice(
            _UNDERSCORES,
            message.common_http_protocol_options.headers_with_underscores_action,
            f"{path}.common_http_protocol_options.headers_with_underscores_action",
        ),
        max_stream_duration_s=optional_seconds(
            message.common_http_protocol_options, "max_stream_duration"
        )
        or 0.0,
        stream_error=message.stream_error_on_invalid_http_message.value,
        http1=http1_options(message.http_protocol_options, f"{path}.http_protocol_options"),
    )


def _upgrades(
    message: hcm_pb2.HttpConnectionManager, path: str, decoders: FilterDecoders
) -> tuple[ManagerUpgrade, ...]:
    found: dict[str, ManagerUpgrade] = {}
    for i, one in enumerate(message.upgrade_configs):
        where, kind = f"{path}.upgrade_configs[{i}]", one.upgrade_type.lower()
        if kind in found:
            raise Rejected(f"{where}.upgrade_type", f"`{one.upgrade_type}` is there twice")
        filters = _http_filters(one.filters, f"{where}.filters", decoders) if one.filters else ()
        found[kind] = ManagerUpgrade(kind, value_or(one, "enabled", True), filters)
    return tuple(found.values())


def _codec(number: int, path: str) -> Codec:
    if number not in _CODECS:
        raise Rejected(path, f"{enum_name(_H.CodecType, number)} is {UNSUPPORTED}")
    return _CODECS[number]


def _http2(message: hcm_pb2.HttpConnectionManager, path: str) -> Http2Options:
    stream_error = value_or(message, "stream_error_on_invalid_http_message", None)
    return http2_options(
        message.http2_protocol_options, f"{path}.http2_protocol_options", stream_error
    )


def _log_interval_s(message: hcm_pb2.HttpConnectionManager, path: str) -> float | None:
    """The older field must not be set beside the newer message (Envoy)."""
    old = message.HasField("access_log_flush_interval") or message.flush_access_log_on_new_request
    if old and message.HasField("access_log_options"):
        raise Rejected(f"{path}.access_log_options", "stands beside the older fields for the same")
    found = optional_seconds(message.access_log_options, "access_log_flush_interval")
    return optional_seconds(message, "access_log_flush_interval") if found is None else found


def _routes(
    message: hcm_pb2.HttpConnectionManager, path: str
) -> tuple[str, str, RouteConfiguration | None]:
    """The name and the file of RDS, or the routes."""
    if message.WhichOneof("route_specifier") == "route_config":
        if message.route_config.HasField("vhds"):
            raise Rejected(f"{path}.route_config.vhds", "is for tables that come over RDS")
        return "", "", route_configuration(message.route_config, f"{path}.route_config")
    file = source(message.rds.config_source, f"{path}.rds.config_source")
    if not message.rds.route_config_name:
        raise Rejected(f"{path}.rds.route_config_name", "must not be empty")
    return message.rds.route_config_name, file, None


def _http_filters(
    messages: Iterable[hcm_pb2.HttpFilter], path: str, decoders: FilterDecoders
) -> tuple[HttpFilter, ...]:
    found = [
        each
        for i, message in enumerate(messages)
        if (each := _http_filter(message, f"{path}[{i}]", decoders)) is not None
    ]
    if not found or found[-1].type_url != ROUTER or found[-1].disabled:
        raise Rejected(path, f"the last filter must be the router ({_type_of(ROUTER)})")
    for each in found[:-1]:
        if each.type_url == ROUTER:
            raise Rejected(path, f"`{each.name}` is a router and stands before the last filter")
    return tuple(found)


def _type_of(type_url: str) -> str:
    return type_url.rpartition("/")[2]


def _http_filter(
    message: hcm_pb2.HttpFilter, path: str, decoders: FilterDecoders
) -> HttpFilter | None:
    """None: Envoy's `is_optional`, a filter that may be left out where it is not known."""
    packed, where = message.typed_config, f"{path}.typed_config"
    decode = decoders.get(packed.type_url)
    if decode is not None:
        config = decode(packed.value, where)
        return HttpFilter(message.name, packed.type_url, config, message.disabled)
    if type_name(packed) in TYPED_STRUCTS:
        type_url, value = open_struct(packed, where)
        if type_url in STRUCTS:
            config = STRUCTS[type_url](value, f"{where}.value")
            return HttpFilter(message.name, type_url, config, message.disabled)
        packed = Any_(type_url=type_url)
    if message.is_optional:
        return None
    raise unsupported_type(packed, where, map(_type_of, (*decoders, *STRUCTS)))


def _cert_details(
    message: hcm_pb2.HttpConnectionManager.SetCurrentClientCertDetails,
) -> frozenset[CertDetail]:
    found: set[CertDetail] = set()
    if message.subject.value:
        found.add("subject")
    flags: tuple[CertDetail, ...] = ("cert", "chain", "dns", "uri")
    found.update(flag for flag in flags if getattr(message, flag))
    return frozenset(found)
