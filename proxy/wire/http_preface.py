"""Which HTTP the first bytes of a plaintext connection are: what Envoy's http_inspector tells.

Sans-IO: `detect` gets everything that came so far and may be asked again with more. It looks at the
request line only; whether the rest is well-formed is the codec's business.
"""

from __future__ import annotations

import re
from typing import Literal

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
MAX_REQUEST_LINE_BYTES = 8 * 1024

Detected = Literal["http/1.0", "http/1.1", "h2c", "need_more", "not_http"]

# RFC 9110 section 5.6.2: a method is a token. The longest registered one has 17 characters.
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |$)")
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} +[^\x00-\x20\x7f]+ +HTTP/1\.([01])$")


def detect(data: bytes) -> Detected:
    """The protocol in the words of ALPN and Envoy (`h2c` is HTTP/2 with prior knowledge)."""
    if data.startswith(HTTP2_PREFACE):
        return "h2c"
    if HTTP2_PREFACE.startswith(data):
        return "need_more"
    data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request are ignored
    line, newline, _ = data.partition(b"\n")
    if newline:
        found = _REQUEST_LINE.match(line.rstrip(b"\r"))
        if found is None:
            return "not_http"
        return "http/1.1" if found[1] == b"1" else "http/1.0"
    if len(data) > MAX_REQUEST_LINE_BYTES or (data and not _METHOD.match(data)):
        return "not_http"
    return "need_more"
