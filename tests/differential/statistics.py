"""The statistics of a running proxy, read for many scenarios at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from tests.support.process import ProxyProcess

CLASSES = ("total", "1xx", "2xx", "3xx", "4xx", "5xx")
UPSTREAM_RQ = ("retry", "retry_success", "timeout", "per_try_timeout", "pending_overflow")
LISTENER_STATS = (*(f"downstream_rq_{each}" for each in CLASSES), "downstream_cx_total")
CLUSTER_STATS = (
    *(f"upstream_rq_{each}" for each in CLASSES + UPSTREAM_RQ),
    "upstream_cx_total",
    "upstream_cx_connect_fail",
)
FRESH_S = 0.02
Stats = dict[str, int]


class Statistics:
    """`/stats` of one proxy: asked at most every FRESH_S, however many wait for it."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy
        self._lock = asyncio.Lock()
        self._seen: Stats = {}
        self._seen_at = 0.0

    async def fresh(self) -> Stats:
        """Read after this call began."""
        asked_at = time.monotonic()
        async with self._lock:
            if self._seen_at < asked_at:
                await asyncio.sleep(max(0.0, self._seen_at + FRESH_S - time.monotonic()))
                self._seen_at = time.monotonic()
                self._seen = await asyncio.to_thread(self._proxy.stats)
            return self._seen

    async def until(self, condition: Callable[[Stats], object], deadline_s: float) -> Stats:
        """The first for which it holds, or the last one in time."""
        end = time.monotonic() + deadline_s
        stats = await self.fresh()
        while not condition(stats) and time.monotonic() < end:
            stats = await self.fresh()
        return stats


async def await_stats(statistics: Statistics, wanted: Mapping[str, int], suffix: str) -> None:
    """Until they have these values; when they never do, what is seen then will say it."""
    if wanted:
        names = {named(name, suffix): value for name, value in wanted.items()}
        await statistics.until(lambda stats: names.items() <= stats.items(), 10.0)


async def settled(
    statistics: Statistics,
    clusters: list[str],
    wanted: tuple[str, ...],
    suffix: str,
    hint: Mapping[str, int | None] | None,
) -> dict[str, int | None]:
    """When no request is active any more and, while there is time, they are as the `hint` of the
    other side says; a name that is not there is None if it is wanted."""
    names = [f"http.test.{name}" for name in LISTENER_STATS]
    names += [f"cluster.{cluster}.{name}" for cluster in clusters for name in CLUSTER_STATS]
    active = named("http.test.downstream_rq_active", suffix)
    stats = await statistics.until(lambda stats: not stats.get(active, 0), 5.0)
    if stats.get(active, 0):
        return {"http.test.downstream_rq_active at the end": 1}

    def picked(stats: Stats) -> dict[str, int | None]:
        found = {name: stats.get(named(name, suffix)) for name in (*names, *wanted)}
        return {name: value for name, value in found.items() if value is not None or name in wanted}

    if hint is None:
        return picked(await _steady(statistics, picked))
    agree = await statistics.until(lambda stats: _agrees(picked(stats), hint), 2.0)
    return picked(agree)


def _agrees(seen: Mapping[str, int | None], hint: Mapping[str, int | None]) -> bool:
    return all(hint[name] == value for name, value in seen.items() if name in hint)


async def _steady(
    statistics: Statistics, picked: Callable[[Stats], dict[str, int | None]]
) -> Stats:
    """Twice the same: what ends off the request's way (a connection) has been counted."""
    before = await statistics.fresh()
    while True:
        await asyncio.sleep(3 * FRESH_S)
        stats = await statistics.fresh()
        if picked(stats) == picked(before):
            return stats
        before = stats


def named(name: str, suffix: str) -> str:
    """`cluster.a.upstream_rq_total` and `http.test.x` as they are called in a batch."""
    room, _, rest = name.partition(".")
    if room not in ("cluster", "http", "listener") or not suffix:
        return name
    who, _, rest = rest.partition(".")
    return f"{room}.{who}{suffix}.{rest}"
