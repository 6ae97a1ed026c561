"""Decodes `Http2ProtocolOptions`, of a listener's connection manager or of a cluster."""

from __future__ import annotations

from envoy.config.core.v3 import protocol_pb2

from proxy.config.decode_common import optional_seconds, seconds, value_or
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import Http2Options, KeepaliveSettings
from proxy.config.rejected import Rejected

# RFC 9113 section 6.5.2, RFC 8441 section 3.
_ENABLE_PUSH = 2
_MAX_FRAME_SIZE = 5
_ENABLE_CONNECT_PROTOCOL = 8
_FRAME_BYTES = 16384
_NAMED = {1: "hpack_table_size", 3: "max_concurrent_streams", 4: "initial_stream_window_size"}
_DEFAULTS = Http2Options()


def http2_options(
    message: protocol_pb2.Http2ProtocolOptions, path: str, stream_error: bool | None = None
) -> Http2Options:
    """stream_error: the connection manager's `stream_error_on_invalid_http_message` if it is set;
    it gives way to the override in `message` and wins over the deprecated field there."""
    if stream_error is None:
        stream_error = message.stream_error_on_invalid_http_messaging
    custom = _custom_settings(message, f"{path}.custom_settings_parameters")

    def value(name: str, identifier: int = 0) -> int:
        default = custom.pop(identifier, getattr(_DEFAULTS, name))
        return int(value_or(message, name, default))

    return Http2Options(
        hpack_table_size=value("hpack_table_size", 1),
        max_concurrent_streams=value("max_concurrent_streams", 3),
        initial_stream_window_size=value("initial_stream_window_size", 4),
        initial_connection_window_size=value("initial_connection_window_size"),
        allow_connect=message.allow_connect,
        max_outbound_frames=value("max_outbound_frames"),
        max_outbound_control_frames=value("max_outbound_control_frames"),
        max_consecutive_inbound_frames_with_empty_payload=value(
            "max_consecutive_inbound_frames_with_empty_payload"
        ),
        max_inbound_priority_frames_per_stream=value("max_inbound_priority_frames_per_stream"),
        max_inbound_window_update_frames_per_data_frame_sent=value(
            "max_inbound_window_update_frames_per_data_frame_sent"
        ),
        stream_error=value_or(
            message, "override_stream_error_on_invalid_http_message", stream_error
        ),
        keepalive=_keepalive(message),
        custom_settings=tuple(custom.items()),
    )


def _custom_settings(message: protocol_pb2.Http2ProtocolOptions, path: str) -> dict[int, int]:
    """By identifier, in the order given; what Envoy refuses is refused."""
    found: dict[int, int] = {}
    for i, each in enumerate(message.custom_settings_parameters):
        identifier, value = each.identifier.value, each.value.value
        where = f"{path}[{i}]"
        if identifier == _ENABLE_PUSH and value:
            raise Rejected(where, "server push is not supported and can't be enabled")
        if identifier == _ENABLE_PUSH:
            continue  # a client says so anyway, and a server has no say in it
        if identifier == _ENABLE_CONNECT_PROTOCOL:
            raise Rejected(where, "is to be set by `allow_connect`")
        if identifier == _MAX_FRAME_SIZE and value != _FRAME_BYTES:
            raise Rejected(where, f"{UNSUPPORTED}: a frame of more than {_FRAME_BYTES} bytes")
        if (name := _NAMED.get(identifier)) is not None and message.HasField(name):
            raise Rejected(where, f"{name} is set too")
        if found.setdefault(identifier, value) != value:
            raise Rejected(where, f"parameter {identifier} is set twice, with different values")
    return found


def _keepalive(message: protocol_pb2.Http2ProtocolOptions) -> KeepaliveSettings | None:
    if not message.HasField("connection_keepalive"):
        return None
    inner = message.connection_keepalive
    jitter = inner.interval_jitter.value if inner.HasField("interval_jitter") else 15.0
    return KeepaliveSettings(
        timeout_s=seconds(inner.timeout),
        interval_s=optional_seconds(inner, "interval"),
        jitter_percent=jitter,
        idle_interval_s=optional_seconds(inner, "connection_idle_interval"),
    )
