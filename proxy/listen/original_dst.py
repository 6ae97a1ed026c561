"""Where a redirected connection meant to go: SO_ORIGINAL_DST, as REDIRECT of iptables or nft sets.

Two kernels' ways of saying "not redirected": ENOENT without NAT rules, and the listener's own
address once connection tracking is active.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number
_SOL_IPV6 = 41


def original_destination(sock: socket.socket) -> tuple[str, int] | None:
    """(host, port) of a redirected connection, None of one that was not."""
    try:
        if sock.family == socket.AF_INET6 and not _is_mapped(sock.getsockname()[0]):
            raw = sock.getsockopt(_SOL_IPV6, _SO_ORIGINAL_DST, 28)
            return str(ipaddress.IPv6Address(raw[8:24])), struct.unpack("!H", raw[2:4])[0]
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            raw = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            return socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    except OSError:
        return None
    return None


def plain_host(host: str) -> str:
    """An IPv4-mapped address of a dual-stack socket as IPv4; others as they are."""
    return host[7:] if _is_mapped(host) else host


def _is_mapped(host: str) -> bool:
    return host.startswith("::ffff:") and "." in host
