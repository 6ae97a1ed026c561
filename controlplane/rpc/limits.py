"""What a client may ask the server to bear. Sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.http.h2.options import Options

STREAM_WINDOW_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection, but for max_connections (the oldest that has proven nothing gives way),
    max_handshakes (that many at a time; the oldest gives way) and max_held_bytes (what half
    messages take): of all of one port; and for max_queued_bytes: of one client on all of its
    connections, what it has yet to read.

    max_unproven_bytes: of one message of whoever has shown no credentials. max_waiting_bytes: of
    messages that a handler has yet to take; then the stream's window stays shut. max_partial_bytes:
    of messages that are not whole yet, of all streams. request_s: the longest wait for a unary
    call's message; unused_s, idle_s: without a call from the beginning, and after one.
    ping_after_s: of silence. min_ping_interval_s: a client's pings, of which max_ping_strikes may
    come sooner. unread_s: a stream ends of which nothing was read for so long."""

    max_message_bytes: int = 64 << 20
    max_unproven_bytes: int = 64 * 1024
    max_streams: int = 256
    max_header_bytes: int = 64 * 1024
    max_waiting_bytes: int = 256 * 1024
    max_partial_bytes: int = 128 << 20
    max_held_bytes: int = 256 << 20
    max_queued_bytes: int = 128 << 20
    high_bytes: int = 256 * 1024
    max_connections: int = 20_000
    handshake_s: float = 20.0
    max_handshakes: int = 1024
    request_s: float = 60.0
    unused_s: float = 120.0
    idle_s: float = 900.0
    ping_after_s: float = 30.0
    ping_timeout_s: float = 10.0
    min_ping_interval_s: float = 5.0
    max_ping_strikes: int = 2
    unread_s: float = 30.0

    def http2(self) -> Options:
        return Options(
            max_concurrent_streams=self.max_streams,
            initial_stream_window_size=STREAM_WINDOW_BYTES,
            # None that is not read holds up another.
            initial_connection_window_size=self.max_streams * STREAM_WINDOW_BYTES,
            max_header_bytes=self.max_header_bytes,
            stream_error_on_invalid_http_messaging=True,
        )


class Stranger(Protocol):
    """A connection, to its port."""

    def give_way(self) -> None:
        """Another needs its place."""


class Room:
    """What the connections of one port have taken, so that those of another port find theirs:
    strangers come to the one, proven workloads to the other. strangers: those of the connections
    that have proven nothing, the oldest first."""

    __slots__ = ("connections", "held_bytes", "strangers")

    def __init__(self) -> None:
        self.connections = 0
        self.strangers: dict[Stranger, None] = {}
        self.held_bytes = 0


DEFAULT_LIMITS = Limits()
