"""How a cluster finds its hosts when nobody lists them: DNS, original destination, host header."""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import SocketAddress

DnsFamily = Literal["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"]


@frozen
class DnsResolver:
    """servers: none is those of the operating system. system: ask its `getaddrinfo` instead, which
    tells no TTL. timeout_s: of one try; None is the resolver's own."""

    system: bool = False
    servers: tuple[SocketAddress, ...] = ()
    use_tcp: bool = False
    no_search: bool = False
    rotate: bool = False
    timeout_s: float | None = None
    tries: int | None = None


@frozen
class Dns:
    """failure_base_s, failure_max_s: the exponential back-off after a failure; None is
    refresh_s each time."""

    refresh_s: float = 5.0
    jitter_s: float = 0.0
    failure_base_s: float | None = None
    failure_max_s: float = 0.0
    respect_ttl: bool = False
    family: DnsFamily = "AUTO"
    resolver: DnsResolver = DnsResolver()


DEFAULT_DNS = Dns()


@frozen
class OriginalDst:
    """`OriginalDstLbConfig`. header: of the request, lower case, b'' for none. port: 0 keeps."""

    header: bytes = b""
    port: int = 0
    metadata_key: tuple[str, tuple[str, ...]] | None = None


@frozen
class DnsCache:
    """`DnsCacheConfig`: names that come with requests. min_refresh_s bounds a TTL from below."""

    name: str
    dns: Dns = Dns(refresh_s=60.0, respect_ttl=True, family="AUTO")
    min_refresh_s: float = 5.0
    host_ttl_s: float = 300.0
    max_hosts: int = 1024
    max_pending: int = 1024
    query_timeout_s: float = 5.0
    no_refresh_on_failure: bool = False
    preresolve: tuple[tuple[str, int], ...] = ()
