"""HTTP/1.0 and 1.1 (RFC 9112), bytes in and calls out: no socket, no clock, no log."""

from proxy.http.h1.reader import Limits, RequestReader, ResponseReader
from proxy.http.h1.writer import LAST_CHUNK, chunk, request_head, response_head

__all__ = [
    "LAST_CHUNK",
    "Limits",
    "RequestReader",
    "ResponseReader",
    "chunk",
    "request_head",
    "response_head",
]
