"""Opens connections to hosts: the only task on the way of a request, and only when none is idle.

A shell: TCP or a Unix socket, TLS with the host's own material, verification of the peer, and the
outcome in Envoy's words to the cluster.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from time import monotonic
from typing import Any, cast

from proxy.outbox import flush
from proxy.tasks import spawn
from proxy.tls.contexts import ClientTls
from proxy.upstream import retry
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.http1 import UpstreamH1

# A peer that does not answer our close_notify is not waited for longer.
CLOSE_NOTIFY_WAIT_S = 1.0


def open_connection(cluster: Cluster, host: Host, breaker: Breaker) -> None:
    """Starts a connection; the cluster hears of it by `on_open` or `on_open_failed`."""
    spawn(_open(cluster, host, breaker), f"connect {cluster.name} {host.text}")


async def _open(cluster: Cluster, host: Host, breaker: Breaker) -> None:
    connection = UpstreamH1(cluster, host, breaker)
    started = monotonic()
    detail = ""
    timed_out = False
    try:
        async with asyncio.timeout(cluster.config.connect_timeout_s):
            detail = await _connect(connection, host)
    except TimeoutError:
        timed_out = True
    except ssl.SSLError as error:
        cluster.all_stats.counter(f"{cluster.prefix}ssl.connection_error").value += 1
        detail = f"TLS_error: {error.reason or error}"
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        detail = f"delayed connect error: {words}"
    if timed_out or detail:
        connection.discard()
        reason = retry.CONNECT_TIMEOUT if timed_out else retry.CONNECT_FAILURE
        cluster.on_open_failed(host, breaker, reason, detail, timed_out)
    else:
        connection.adopt(monotonic())
        cluster.on_open(connection, (monotonic() - started) * 1000)
    flush()


async def _connect(connection: UpstreamH1, host: Host) -> str:
    """'' when the connection can be used, else why not."""
    loop = asyncio.get_running_loop()
    address = host.address
    tls = cast(ClientTls | None, host.tls)
    options: dict[str, Any] = {}
    if tls is not None:
        options = {
            "ssl": tls.ssl_context,
            "server_hostname": tls.server_hostname,
            "ssl_shutdown_timeout": CLOSE_NOTIFY_WAIT_S,
        }
    if address.path:
        await loop.create_unix_connection(lambda: connection, address.path, **options)
    else:
        await loop.create_connection(lambda: connection, address.host, address.port, **options)
    transport = connection.transport
    if transport is None:
        return "delayed connect error: Connection reset by peer"
    if tls is not None:
        why = tls.verify(transport.get_extra_info("ssl_object"))
        if why is not None:
            stats = connection.cluster.all_stats
            stats.counter(f"{connection.cluster.prefix}ssl.fail_verify_san").value += 1
            return f"TLS_error: {why}"
        stats = connection.cluster.all_stats
        stats.counter(f"{connection.cluster.prefix}ssl.handshake").value += 1
    return ""
