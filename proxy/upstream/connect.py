"""Opens HTTP/1 connections: the only task on the way of a request, and only when none is idle."""

from __future__ import annotations

from time import monotonic

from proxy.outbox import flush
from proxy.tasks import spawn
from proxy.upstream.breaker import Breaker
from proxy.upstream.cluster import Cluster
from proxy.upstream.dial import dial
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
    failure = await dial(cluster, host, connection, CLOSE_NOTIFY_WAIT_S)
    if failure is not None:
        connection.discard()
        cluster.on_open_failed(host, breaker, failure.reason, failure.detail, failure.timed_out)
    else:
        connection.adopt(monotonic())
        cluster.on_open(connection, (monotonic() - started) * 1000)
    flush()
