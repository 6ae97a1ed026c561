"""How a request wants its host to be spoken to: which HTTP, and to which name by TLS.

Requests that want the same share connections; a cluster that speaks to its hosts in one way only
has no chooser, and pays nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from proxy.config.model import HttpProtocolOptions
from proxy.config.model.connecting import Sockets
from proxy.http.message import Request

Version = Literal["HTTP1", "HTTP2", "AUTO"]
ALPN: Mapping[Version, tuple[str, ...]] = {
    "HTTP1": ("http/1.1",),
    "HTTP2": ("h2",),
    "AUTO": ("h2", "http/1.1"),
}
"""What TLS offers where the configuration names no protocols (Envoy's fallbacks)."""


class Way(NamedTuple):
    """version: AUTO is by ALPN. server_name: the SNI, '' as configured. san: the name that the
    certificate must have, '' for no other than those configured. preface: bytes to begin with.
    source: the client's address to connect from."""

    version: Version
    server_name: str = ""
    san: str = ""
    preface: bytes = b""
    source: Sockets | None = None


def the_way(options: HttpProtocolOptions) -> Way:
    """That of a cluster without a chooser."""
    return Way("HTTP1" if options.version == "DOWNSTREAM" else options.version)


def chooser(options: HttpProtocolOptions) -> Callable[[Request], Way] | None:
    """None: all requests go the same way."""
    named = options.auto_sni or options.auto_san_validation
    if not named and options.version != "DOWNSTREAM":
        return None
    header = options.auto_sni_header.encode()

    def choose(request: Request) -> Way:
        version = options.version
        if version == "DOWNSTREAM":
            version = "HTTP2" if request.version == b"HTTP/2" else "HTTP1"
        if not named:
            return Way(version)
        authority = request.headers.get(header) if header and header != b":authority" else None
        host = host_of(authority or request.authority)
        server_name = host if options.auto_sni and not _is_ip(host) else ""
        return Way(version, server_name, host if options.auto_san_validation else "")

    return choose


def host_of(authority: bytes) -> str:
    """Without its port, and without the brackets of an IPv6 address."""
    text = authority.decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.rpartition(":")
    return host if colon and port.isdigit() else text


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
