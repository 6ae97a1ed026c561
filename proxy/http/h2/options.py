"""What a connection may be asked to bear: Envoy's `Http2ProtocolOptions` with its defaults."""

from __future__ import annotations

from dataclasses import dataclass

ALLOW_UNDERSCORES = 0
REJECT_UNDERSCORES = 1  # the request is reset
DROP_UNDERSCORES = 2  # the header is taken out


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes in bytes. `max_header_bytes` and `max_headers` bound a block: max_request_headers_kb
    and max_headers_count. underscores: headers_with_underscores_action. custom_settings:
    (identifier, value), told to the peer as they are."""

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 2 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    max_outbound_frames: int = 10000
    max_outbound_control_frames: int = 1000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    stream_error_on_invalid_http_messaging: bool = False
    max_header_bytes: int = 60 * 1024
    max_headers: int = 100
    underscores: int = ALLOW_UNDERSCORES
    custom_settings: tuple[tuple[int, int], ...] = ()


class PrematureResets:
    """Is this client only opening streams to reset them (CVE-2023-44487)? One per connection.

    Envoy's `overload.premature_reset_total_stream_count` and
    `overload.premature_reset_min_stream_lifetime_seconds`: of `total` streams (or of all, when
    there were more) less than half may end young and without an answer. ended: how many have;
    whoever asks counts them, since for an answered one there is nothing to be asked."""

    __slots__ = ("_lifetime_s", "_premature", "_total", "ended")

    def __init__(self, total: int = 500, lifetime_s: float = 1.0) -> None:
        self._total = total
        self._lifetime_s = lifetime_s
        self.ended = 0
        self._premature = 0

    def note(self, lifetime_s: float) -> bool:
        """A stream has ended without an answer. True: close the connection."""
        if lifetime_s <= self._lifetime_s:
            self._premature += 1
        return self._premature * 2 >= max(self._total, self.ended)
