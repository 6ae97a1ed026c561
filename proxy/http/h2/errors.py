"""Error codes (RFC 9113 section 7) and what is raised for a connection that can't go on."""

from __future__ import annotations

from proxy.http.errors import Malformed

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB
INADEQUATE_SECURITY = 0xC
HTTP_1_1_REQUIRED = 0xD

NAMES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
    "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
    "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip

# Envoy's words (its `response_code_details`) for what a peer can do wrong on a stream.
INVALID_FIELD = "http2.invalid.header.field"
MESSAGING = "http2.violation.of.messaging.rule"
TOO_MANY_HEADERS = "http2.too_many_headers"
TOO_LONG = "http2.header_list_size_too_large"
OVERFLOWS = (TOO_MANY_HEADERS, TOO_LONG)  # Envoy logs them as if the peer had reset the stream
UNDERSCORE = "http2.unexpected_underscore"
REMOTE_RESET = "http2.remote_reset"
REMOTE_REFUSE = "http2.remote_refuse"


def error_name(code: int) -> str:
    """The code's name in the RFC; a number as it is."""
    return NAMES[code] if code < len(NAMES) else str(code)


class ConnectionFailed(Malformed):
    """The peer broke the protocol. A GOAWAY with `code` was written already."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail, 0)
        self.code = code


class BadBlock(Exception):
    """A header block that can't be decoded (RFC 7541): the connection's state is lost."""
