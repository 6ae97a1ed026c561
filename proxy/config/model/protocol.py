"""How HTTP is spoken on one side: versions, their limits, their time-outs (`core.v3.protocol`).

Every default is Envoy's.
"""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen

HttpVersion = Literal["HTTP1", "HTTP2", "DOWNSTREAM", "AUTO"]


@frozen
class KeepaliveSettings:
    """PINGs that find dead connections. interval_s None: none by themselves. idle_interval_s: a
    connection that was idle for longer is asked before it is used again."""

    timeout_s: float
    interval_s: float | None = None
    jitter_percent: float = 15.0
    idle_interval_s: float | None = None


@frozen
class Http1Options:
    """`Http1ProtocolOptions`. enable_trailers: trailers are passed on. chunked_length: a request
    may have a length and be chunked, and counts as chunked. proper_case: header names are spelled
    `Like-This`; else as they came. custom_methods: any token is a method."""

    enable_trailers: bool = False
    chunked_length: bool = False
    proper_case: bool = False
    custom_methods: bool = False


@frozen
class Http2Options:
    """`Http2ProtocolOptions`. stream_error: an invalid message resets its stream and leaves the
    connection alone. custom_settings: (identifier, value), sent as they are."""

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 2 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    stream_error: bool = False
    keepalive: KeepaliveSettings | None = None
    custom_settings: tuple[tuple[int, int], ...] = ()


@frozen
class HttpProtocolOptions:
    """`common_http_protocol_options`, and of a cluster which version it is spoken to with.

    version: AUTO by ALPN; DOWNSTREAM is that of the request. auto_sni: TLS to the request's host,
    auto_sni_header: found in this header instead."""

    idle_timeout_s: float | None = 3600.0
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int | None = None
    max_response_headers_kb: int = 60
    max_headers_count: int = 100
    version: HttpVersion = "HTTP1"
    http1: Http1Options = Http1Options()
    http2: Http2Options = Http2Options()
    auto_sni: bool = False
    auto_san_validation: bool = False
    auto_sni_header: str = ""


@frozen
class PreconnectPolicy:
    """How many connections are held ready: the ratio of room for streams to streams, of one host
    and, `predictive`, over the hosts that would be picked next."""

    per_upstream: float = 1.0
    predictive: float = 0.0
