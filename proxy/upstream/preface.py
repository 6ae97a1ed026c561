"""What a connection says before HTTP or TLS: the PROXY header of whom it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.config.model import Cluster as ClusterConfig
from proxy.config.model.connecting import ProxyProtocolOut
from proxy.connection import ConnectionInfo
from proxy.upstream.source import source_of
from proxy.upstream.way import Way, chooser, the_way
from proxy.wire.proxy_protocol import ProxyHeader, encode

STATE = "envoy.network.proxy_protocol_options"
"""Under this name the connection's state has the PROXY header that it came with."""


def preface(config: ProxyProtocolOut, info: ConnectionInfo | None) -> bytes:
    """info: the downstream connection, None where it is for nobody (a health check)."""
    if info is None:
        return encode(config.version, None, None)
    came = (info.state or {}).get(STATE)
    tlvs = list(config.added)
    if isinstance(came, ProxyHeader):
        own = {kind for kind, _ in config.added}
        tlvs += [
            (kind, value)
            for kind, value in came.tlvs
            if kind not in own and (config.pass_through is None or kind in config.pass_through)
        ]
    return encode(config.version, info.remote, info.local, tuple(tlvs))


def way_chooser(config: ClusterConfig, by_source: bool = False) -> Callable[[Any], Way] | None:
    """An exchange to its way; None: all go the same. Connections that say for whom they are serve
    nobody else, nor do those that come from the client's address. by_source: there are such."""
    choose, out = chooser(config.http), config.proxy_protocol
    if by_source:
        return _by_source(way_chooser(config), the_way(config.http))
    if out is None:
        return None if choose is None else lambda exchange: choose(exchange.request)
    common = the_way(config.http)

    def prefaced(exchange: Any) -> Way:
        way = common if choose is None else choose(exchange.request)
        return way._replace(preface=preface(out, getattr(exchange, "info", None)))

    return prefaced


def _by_source(choose: Callable[[Any], Way] | None, common: Way) -> Callable[[Any], Way]:
    def chosen(exchange: Any) -> Way:
        way = common if choose is None else choose(exchange)
        source = source_of(getattr(exchange, "info", None))
        return way if source is None else way._replace(source=source)

    return chosen
