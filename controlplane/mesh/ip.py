"""Is a word an IP address? Asked of every endpoint several times, so not of `ipaddress` first."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def is_ip(word: str) -> bool:
    """As `ipaddress.ip_address` takes it: four decimal octets, or IPv6 with or without a zone."""
    if ":" not in word:
        return _IPV4.fullmatch(word) is not None
    try:
        IPv6Address(word)
    except ValueError:
        return False
    return True
