"""What a cluster's connections are like below HTTP and TLS: sockets, and the PROXY protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import SocketAddress


@frozen
class SocketOption:
    """`setsockopt(level, name, value)`."""

    level: int
    name: int
    value: int | bytes


@frozen
class TcpKeepalive:
    """None is the operating system's own; times in seconds."""

    probes: int | None = None
    time_s: int | None = None
    interval_s: int | None = None


@frozen
class Sockets:
    """source: the address to connect from; others are for the other address family."""

    source: SocketAddress | None = None
    others: tuple[SocketAddress, ...] = ()
    options: tuple[SocketOption, ...] = ()
    keepalive: TcpKeepalive | None = None

    def over(self, default: Sockets) -> Sockets:
        """These, bound as `default` says where they are not bound at all."""
        if self.source or self.options or not default:
            return self
        return replace(default, keepalive=self.keepalive)

    def __bool__(self) -> bool:
        return bool(self.source or self.options or self.keepalive is not None)


NO_SOCKETS = Sockets()


@frozen
class OriginalSrc:
    """`envoy.filters.listener.original_src`: connections to hosts come from where the client's did.
    mark: SO_MARK of those, 0 for none. bind_port: from its port, too."""

    mark: int = 0
    bind_port: bool = False


@frozen
class ProxyProtocolOut:
    """`ProxyProtocolUpstreamTransport`: each connection begins by saying whom it is for.

    pass_through: types of the TLVs that came in to hand on, None for all of them (version 2)."""

    version: Literal[1, 2] = 1
    pass_through: frozenset[int] | None = frozenset()
    added: tuple[tuple[int, bytes], ...] = ()


@frozen
class TlvRule:
    """A TLV of this type goes into the connection's metadata: `namespace`, `key`."""

    type: int
    namespace: str
    key: str


@frozen
class ProxyProtocolIn:
    """The listener filter `proxy_protocol`. kept: types of the TLVs that upstream connections may
    hand on, None for all."""

    rules: tuple[TlvRule, ...] = ()
    allow_without: bool = False
    kept: frozenset[int] | None = frozenset()
    disallowed: frozenset[int] = frozenset()
    stat_prefix: str = ""
