"""A listener ready to serve: its configuration, its filter chains as a look-up, what it must sniff.

Immutable; a new configuration is a new ListenerRuntime, and connections keep what they began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from proxy.config.model import FilterChainMatch, Listener
from proxy.config.model.listeners import PortRanges
from proxy.connection import ConnectionInfo
from proxy.listen.chain_match import ChainTable
from proxy.listen.connection_log import Logger
from proxy.match import within

if TYPE_CHECKING:
    from proxy.tls.contexts import ServerTls

DEFAULT_HANDSHAKE_TIMEOUT_S = 15.0


class ChainRuntime(Protocol):
    """A filter chain as `compile` makes it."""

    @property
    def match(self) -> FilterChainMatch: ...

    @property
    def tls(self) -> ServerTls | None:
        """None for plaintext."""

    @property
    def handshake_timeout_s(self) -> float | None:
        """`transport_socket_connect_timeout`; None is 15 s."""

    @property
    def close_notify_wait_s(self) -> float:
        """How long a TLS connection that we close may take to write its rest and to hear the
        peer's close_notify. What is not written then is lost."""

    def connect(self, info: ConnectionInfo) -> asyncio.BaseProtocol:
        """The protocol of a new connection. With TLS it is called after the handshake and the
        verification, with `info` complete, and its `connection_made` gets the TLS transport. It
        must call `info.on_closed()` once, in `connection_lost`."""


class ListenerRuntime:
    __slots__ = (
        "asks_within",
        "chains",
        "config",
        "loggers",
        "needs_http_inspector",
        "needs_tls_inspector",
        "table",
    )

    def __init__(
        self,
        config: Listener,
        chains: Sequence[ChainRuntime],
        default: ChainRuntime | None = None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        """loggers: of its connections. Raises ChainMatchError when the chains cannot be told
        apart."""
        self.config = config
        self.asks_within = within(config.asks_within) if config.asks_within else None
        self.loggers = loggers
        self.chains = tuple(chains)
        self.table: ChainTable[ChainRuntime] = ChainTable(
            ((chain.match, chain) for chain in chains), default
        )
        self.needs_http_inspector = config.http_inspector
        # Envoy adds the tls_inspector itself when a chain cannot be chosen without it.
        self.needs_tls_inspector = config.tls_inspector or any(
            _needs_tls_inspector(chain.match) for chain in chains
        )

    def looks_for_tls(self, port: int) -> bool:
        """Into a connection to that port."""
        return self.needs_tls_inspector and not _is_in(self.config.not_for_tls, port)

    def looks_for_http(self, port: int) -> bool:
        return self.needs_http_inspector and not _is_in(self.config.not_for_http, port)

    @property
    def redirected(self) -> bool:
        """Connections come by REDIRECT: ask for their original destination."""
        return self.config.original_dst or self.config.use_original_dst

    @property
    def stat_prefix(self) -> str:
        return self.config.stat_prefix or str(self.config.address)


def _is_in(ranges: PortRanges, port: int) -> bool:
    return any(start <= port < end for start, end in ranges)


def _needs_tls_inspector(match: FilterChainMatch) -> bool:
    if match.transport_protocol:
        return match.transport_protocol == "tls"
    return bool(match.server_names or match.application_protocols)
