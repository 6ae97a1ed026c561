"""HTTP/1.0 and 1.1 (RFC 9112), bytes in and calls out: no socket, no clock, no log."""

from proxy.http.h1.head_reader import Limits
from proxy.http.h1.request_reader import RequestReader
from proxy.http.h1.response_reader import ResponseReader
from proxy.http.h1.writer import (
    LAST_CHUNK,
    chunk,
    last_chunk,
    proper_case,
    proper_request_head,
    proper_response_head,
    request_head,
    response_head,
    tunnel_head,
    upgrade_lines,
)

__all__ = [
    "LAST_CHUNK",
    "Limits",
    "RequestReader",
    "ResponseReader",
    "chunk",
    "last_chunk",
    "proper_case",
    "proper_request_head",
    "proper_response_head",
    "request_head",
    "response_head",
    "tunnel_head",
    "upgrade_lines",
]
