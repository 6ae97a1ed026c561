"""TLS of a gRPC call: who is believed, under which name, and who we are."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from proxy.config.model import (
    CommonTls,
    DataSource,
    SanMatcher,
    StringMatcher,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.http.grpc import RpcError
from proxy.tls.failure import TlsConfigError

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls


def client_tls(
    address: str, roots: bytes, server_name: str, chain: bytes | None, key: bytes | None
) -> ClientTls:
    """PEM bytes. server_name: the DNS name to find in the server's certificate; '' is the host of
    `address`, an IP address too. Raises RpcError for material that is no good."""
    name = server_name or address.rpartition(":")[0].strip("[]")
    is_ip = _is_ip(name)
    wanted = SanMatcher("IP_ADDRESS" if is_ip else "DNS", StringMatcher("exact", name))
    own: tuple[TlsCertificate, ...] = ()
    if chain is not None and key is not None:
        own = (TlsCertificate(DataSource(chain, "our certificate"), DataSource(key, "our key")),)
    common = CommonTls(
        certificates=own,
        validation=ValidationContext(DataSource(roots, "the roots"), (wanted,)),
        alpn=("h2",),
    )
    from proxy.tls.contexts import client_context  # a plaintext proxy has no use for it

    try:
        return client_context(UpstreamTls(common, "" if is_ip else name), {})
    except TlsConfigError as error:
        raise RpcError("UNAVAILABLE", str(error)) from None


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
