"""From a host to a transport that may be used: connect within the cluster's time, TLS with the
host's own material, verification of the peer. The outcome is told in Envoy's words.

Knows no protocol: HTTP/1 and plain TCP dial alike.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

from proxy.config.model.connecting import Sockets
from proxy.outbox import Pipe
from proxy.tls.counters import TlsCounters
from proxy.tls.failure import TlsFailed
from proxy.transport.plain import PlainTransport
from proxy.transport.watch import watch_of
from proxy.upstream import retry
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.sockets import BindFailed, connected
from proxy.upstream.source import fits
from proxy.upstream.way import ALPN, Way

if TYPE_CHECKING:
    from proxy.tls.contexts import ClientTls


class Dialled(Protocol):
    """The asyncio protocol that gets the connection."""

    @property
    def transport(self) -> Pipe | None:
        """None before and after its life."""


@dataclass(frozen=True, slots=True)
class DialFailure:
    """reason: one of `retry`'s. detail: for people, '' for a connection that took too long."""

    reason: str
    detail: str
    timed_out: bool


async def dial(
    cluster: Cluster,
    host: Host,
    connection: Dialled,
    close_notify_wait_s: float,
    way: Way | None = None,
    preface: bytes = b"",
    source: Sockets | None = None,
) -> DialFailure | None:
    """None when `connection` can be used. Else the caller discards it: it may have a transport.

    way: of HTTP, with the protocols to offer and the names to verify. preface: sent before TLS.
    source: the client's address to connect from.
    close_notify_wait_s: how long a TLS connection that we close waits for the peer to do so."""
    if way is not None:
        preface, source = preface or way.preface, source or way.source
    try:
        async with asyncio.timeout(cluster.config.connect_timeout_s):
            begin = (way, preface, source)
            detail = await _connect(cluster, host, connection, close_notify_wait_s, *begin)
    except TimeoutError:
        return DialFailure(retry.CONNECT_TIMEOUT, "", timed_out=True)
    except TlsFailed as failure:
        TlsCounters(cluster.all_stats, cluster.prefix).failed(failure)
        detail = failure.told
    except BindFailed as error:
        return DialFailure(retry.LOCAL_FAILURE, str(error), timed_out=False)
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        detail = f"delayed connect error: {words}"
    return DialFailure(retry.CONNECT_FAILURE, detail, timed_out=False) if detail else None


async def _connect(
    cluster: Cluster,
    host: Host,
    connection: Dialled,
    close_notify_wait_s: float,
    way: Way | None,
    preface: bytes,
    source: Sockets | None,
) -> str:
    """'' when the connection can be used, else why not."""
    loop = asyncio.get_running_loop()
    address = host.address
    protocol = cast(asyncio.Protocol, connection)
    tls = cast("ClientTls | None", host.tls)
    sockets = cluster.config.sockets.over(cluster.default_sockets)
    if source is not None and fits(source, address):
        sockets = replace(source, keepalive=sockets.keepalive)

    async def connect() -> socket.socket:
        return await connected((address, *host.others), sockets, preface)

    if tls is None:
        sock = await connect()
        PlainTransport(loop, watch_of(loop), sock).begin(protocol)
    else:
        asked = (ALPN[way.version], way.server_name, way.san) if way is not None else ((), "", "")
        session = tls.session(*asked, host_name=host.hostname)
        from proxy.tls.originate import originate  # a plaintext proxy has no use for it

        await originate(session, protocol, connect, close_notify_wait_s)
        counters = TlsCounters(cluster.all_stats, cluster.prefix)
        counters.established(session, session.peer)
    if connection.transport is None:
        return "delayed connect error: Connection reset by peer"
    return ""
