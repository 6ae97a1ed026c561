"""Which addresses a provider of identities may have: whoever writes a policy must not make the
control plane ask what only it can reach (SSRF).

Pure. Private networks are allowed: identity providers stand there. Never allowed are what clouds
tell a machine about itself (link-local addresses), and places that nobody serves. This machine's
own loopback counts only where the control plane is there for this machine alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from certs.errors import CertificateError
from controlplane.errors import StartError

_CLOUD = IPv6Network("fd00:ec2::/32")
"""EC2's metadata among the private addresses of IPv6."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""Where a network of IPv6 alone reaches IPv4 (RFC 6052)."""


Network = IPv4Network | IPv6Network


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Those that the operator names. StartError: one is none."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise StartError(f"--block-jwks: {error}") from None
    return tuple(found)


class Reach:
    """loopback: this machine's own services may be asked. blocked: nobody there may be."""

    __slots__ = ("_blocked", "_loopback")

    def __init__(self, *, loopback: bool, blocked: Iterable[Network] = ()) -> None:
        self._loopback = loopback
        self._blocked = tuple(blocked)

    def allowed(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those that may be asked; CertificateError if none of them may be."""
        good = tuple(address for address in addresses if self._is_allowed(ip_address(address)))
        if not good:
            where = "" if self._loopback else ", or this machine's own"
            raise CertificateError(
                f"its address is not one to ask: link-local, multicast, reserved, blocked{where}"
            )
        return good

    def _is_allowed(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address):
            if address.scope_id is not None or address in _CLOUD:
                return False
            if address in _NAT64:
                return self._is_allowed(IPv4Address(address.packed[-4:]))
            address = address.ipv4_mapped or address.sixtofour or address
        if any(address in network for network in self._blocked):
            return False
        if address.is_loopback:
            return self._loopback
        return not (
            address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
        )
