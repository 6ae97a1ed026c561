"""Request targets other than origin form, and what may stand in a host (RFC 9112 section 3.2)."""

from __future__ import annotations

from proxy.http.errors import Malformed
from proxy.http.h1.grammar import absolute_match, authority_match
from proxy.http.message import Request

MAX_PORT = 65535
MAX_KNOWN = 1024
MAX_KNOWN_BYTES = 320  # a DNS name has at most 253 (RFC 1035 section 2.3.4); longer is not kept
known_authorities: set[bytes] = set()


def check_authority(authority: bytes) -> None:
    """Refuses what is not `host[:port]`. Hosts seen before cost one look-up."""
    if authority in known_authorities:
        return
    if authority_match(authority) is None:
        raise Malformed("http1.invalid_authority")
    if len(authority) > MAX_KNOWN_BYTES:
        return
    if len(known_authorities) >= MAX_KNOWN:
        known_authorities.clear()
    known_authorities.add(authority)


def absolute_form(request: Request) -> None:
    """`GET http://host/path`: the target's host replaces the header (RFC 9112 section 3.2.2)."""
    found = absolute_match(request.path)
    if found is None or found[1].lower() not in (b"http", b"https") or not found[2]:
        raise Malformed("http1.codec_error")
    host, _, port = found[2].rpartition(b":")
    if host and port.isdigit() and int(port[:6]) > MAX_PORT:
        raise Malformed("http1.invalid_url")
    request.authority = found[2]
    path = found[3] or b"/"
    request.path = path if path.startswith(b"/") else b"/" + path
