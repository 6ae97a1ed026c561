"""How long a body is, and which headers end here (RFC 9112 section 6, RFC 9110 section 7.6.1).

A message whose length two parsers could read differently is refused: that is request smuggling.
"""

from __future__ import annotations

from proxy.http.errors import Malformed
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, UNTIL_CLOSE, Request

MAX_LENGTH_DIGITS = 18
MAX_OPTIONS = 9  # of a Connection header, as Envoy


def content_length(block: Headers) -> int | None:
    """The one Content-Length; None if there is none. Lists and repetitions are refused."""
    if b"content-length" not in block:
        return None
    values = block.all(b"content-length")
    if len(values) > 1:
        raise Malformed("http1.codec_error")
    return sized(values[0])


def sized(value: bytes) -> int:
    """The number in a Content-Length: digits and nothing else."""
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise Malformed("http1.codec_error")
    return int(value)


def request_length(request: Request, block: Headers, chunked_length: bool = False) -> int:
    """RFC 9112 section 6.3 for requests: CHUNKED, or bytes (0 where nothing is said). CONNECT has
    no content, but a tunnel (RFC 9110 section 9.3.6). chunked_length: both ways of framing may be
    there, and the length is not passed on (Envoy's `allow_chunked_length`)."""
    length = content_length(block)
    coding = block.joined(b"transfer-encoding")
    if request.method == b"CONNECT":
        if coding is not None:
            raise Malformed("http1.invalid_transfer_encoding", 501)
        if length:
            raise Malformed("http1.body_disallowed")
        request.headers.remove(b"content-length")
        return UNTIL_CLOSE
    if coding is None:
        return length or 0
    if length is not None:
        if not chunked_length:
            raise Malformed("http1.content_length_and_chunked_not_allowed")
        request.headers.remove(b"content-length")
    if request.version == b"HTTP/1.0":
        raise Malformed("http1.transfer_encoding_not_allowed")
    if coding.strip().lower() != b"chunked":
        raise Malformed("http1.invalid_transfer_encoding", 501)
    return CHUNKED


def response_length(method: bytes, status: int, minor: bytes, block: Headers) -> int:
    """RFC 9112 section 6.3 for responses."""
    if method == b"CONNECT" and status < 300:
        return UNTIL_CLOSE
    coding = block.joined(b"transfer-encoding")
    length = content_length(block)
    if method == b"HEAD" or status in (204, 304):
        return 0
    if coding is not None:
        if length is not None or minor != b"1" or coding.strip().lower() != b"chunked":
            raise Malformed("http1.invalid_transfer_encoding")
        return CHUNKED
    return UNTIL_CLOSE if length is None else length


def sanitize_connection(headers: Headers, connection: bytes) -> None:
    """Takes out what `Connection` nominates. Headers that route or frame may not be nominated, nor
    more than Envoy takes."""
    options = connection.split(b",")
    if len(options) > MAX_OPTIONS:
        raise Malformed("http1.connection_header_rejected")
    for option in options:
        name = option.strip()
        if name in (b"", b"close", b"keep-alive", b"upgrade", b"te", b"transfer-encoding"):
            continue
        if name in (b"host", b"content-length") or name.startswith((b":", b"x-forwarded-")):
            raise Malformed("http1.connection_header_rejected")
        headers.remove(name)
