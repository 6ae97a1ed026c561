"""Opens connections for pools: the only task on the way of a request, and only when none is ready.

Which HTTP a connection speaks is its pool's word, or ALPN's.
"""

from __future__ import annotations

from time import monotonic

from proxy.outbox import flush
from proxy.tasks import spawn
from proxy.upstream.dial import dial
from proxy.upstream.http1 import UpstreamH1
from proxy.upstream.pool import Pool

# A peer that does not answer our close_notify is not waited for longer.
CLOSE_NOTIFY_WAIT_S = 1.0


def open_connection(pool: Pool) -> None:
    """Starts a connection; the pool hears of it by `on_open` or `on_open_failed`."""
    spawn(_open(pool), f"connect {pool.cluster.name} {pool.host.text}")


async def _open(pool: Pool) -> None:
    connection = UpstreamH1(pool)
    started = monotonic()
    failure = await dial(pool.cluster, pool.host, connection, CLOSE_NOTIFY_WAIT_S, pool.way,
                         pool.way.preface)  # fmt: skip
    if failure is not None:
        connection.discard()
        pool.on_open_failed(failure.reason, failure.detail, failure.timed_out)
    else:
        connection.adopt(monotonic())
        pool.on_open(connection, (monotonic() - started) * 1000)
    flush()
