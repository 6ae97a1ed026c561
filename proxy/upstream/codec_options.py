"""From the configuration of HTTP/2 to what its codec is asked to bear, on either side."""

from __future__ import annotations

from proxy.config.model import Http2Options
from proxy.http.h2.options import Options


def codec_options(http2: Http2Options, header_kb: int, header_count: int) -> Options:
    """What our side of a connection tells and bears."""
    return Options(
        hpack_table_size=http2.hpack_table_size,
        max_concurrent_streams=http2.max_concurrent_streams,
        initial_stream_window_size=http2.initial_stream_window_size,
        initial_connection_window_size=http2.initial_connection_window_size,
        allow_connect=http2.allow_connect,
        max_outbound_frames=http2.max_outbound_frames,
        max_outbound_control_frames=http2.max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload=(
            http2.max_consecutive_inbound_frames_with_empty_payload
        ),
        max_inbound_priority_frames_per_stream=http2.max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent=(
            http2.max_inbound_window_update_frames_per_data_frame_sent
        ),
        stream_error_on_invalid_http_messaging=http2.stream_error,
        max_header_bytes=header_kb * 1024,
        max_headers=header_count,
        custom_settings=http2.custom_settings,
    )
