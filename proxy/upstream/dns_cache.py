"""Names that come with requests and their addresses: Envoy's DNS cache of dynamic forward proxies.

A name is asked for when the first request brings it, again when its TTL is over, and forgotten
when no request has brought it for `host_ttl`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import Literal

from proxy.config.model import SocketAddress
from proxy.config.model.discovery import DnsCache as DnsCacheConfig
from proxy.stats import Stats
from proxy.tasks import spawn
from proxy.upstream.dns import back_off_s
from proxy.upstream.resolver import Answer, ResolveFailed, Resolver, is_ip

Done = Callable[[], None]
Loaded = Literal["there", "loading", "overflow", "pending overflow"]


class Entry:
    """addresses: empty while nobody knows any. known: it was answered, or has failed, once."""

    __slots__ = ("addresses", "known", "name", "port", "task", "used_at", "waiting")

    def __init__(self, name: str, port: int, now: float) -> None:
        self.name = name
        self.port = port
        self.addresses: tuple[SocketAddress, ...] = ()
        self.known = False
        self.used_at = now
        self.waiting: list[Done] = []
        self.task: asyncio.Task[None] | None = None


class DnsCache:
    """watchers: called with a name when its addresses change, or when it is forgotten."""

    def __init__(
        self, config: DnsCacheConfig, resolver: Resolver, stats: Stats, random: Random
    ) -> None:
        self.config = config
        self.watchers: list[Callable[[str], None]] = []
        self._resolver = resolver
        self._stats = stats
        self._random = random
        self._prefix = f"dns_cache.{config.name}."
        self._entries: dict[str, Entry] = {}
        self._pending = 0
        for name, port in config.preresolve:
            self._start(Entry(name, port, monotonic()))

    def get(self, name: str, port: int) -> tuple[SocketAddress, ...]:
        """The addresses of a name that was loaded; it counts as used now."""
        entry = self._entries.get(_key(name, port))
        if entry is None:
            return ()
        entry.used_at = monotonic()
        return entry.addresses

    def load(self, name: str, port: int, done: Done) -> Loaded:
        """Sees to it that the name is known. loading: `done` is called when it is, or is not."""
        key = _key(name, port)
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self.config.max_hosts:
                self._count("host_overflow")
                return "overflow"
            entry = Entry(name, port, monotonic())
            self._start(entry)
        entry.used_at = monotonic()
        if entry.known:
            return "there"
        if self._pending >= self.config.max_pending:
            self._count("dns_rq_pending_overflow")
            return "pending overflow"
        self._pending += 1
        entry.waiting.append(done)
        return "loading"

    def forget(self, name: str, port: int, done: Done) -> None:
        """`done` no longer waits for that name."""
        entry = self._entries.get(_key(name, port))
        if entry is not None and done in entry.waiting:
            entry.waiting.remove(done)
            self._pending -= 1

    def close(self) -> None:
        """Who waits for a name learns that there is none."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            if entry.task is not None:
                entry.task.cancel()
            self._release(entry)

    # ------------------------------------------------------------------ one name

    def _start(self, entry: Entry) -> None:
        self._entries[_key(entry.name, entry.port)] = entry
        self._count("host_added")
        self._stats.gauge(f"{self._prefix}num_hosts").value = len(self._entries)
        if is_ip(entry.name):
            self._take(entry, Answer((entry.name,)))
        else:
            entry.task = spawn(self._run(entry), f"dns cache {entry.name}")

    async def _run(self, entry: Entry) -> None:
        config, failures = self.config, 0
        while True:
            answer = await self._resolve(entry)
            if answer is None:
                if config.no_refresh_on_failure and not entry.addresses:
                    break
                wait_s = back_off_s(config.dns, failures, self._random)
                failures += 1
            else:
                failures = 0
                wait_s = max(answer.ttl_s or config.dns.refresh_s, config.min_refresh_s)
            await asyncio.sleep(wait_s)
            if monotonic() - entry.used_at > config.host_ttl_s:
                break
        self._remove(entry)

    async def _resolve(self, entry: Entry) -> Answer | None:
        self._count("dns_query_attempt")
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self.config.query_timeout_s or None):
                answer = await self._resolver.resolve(entry.name, self.config.dns.family)
        except TimeoutError:
            self._count("dns_query_timeout")
            self._count("dns_query_failure")
        except ResolveFailed:
            self._count("dns_query_failure")
        else:
            self._count("dns_query_success")
        self._take(entry, answer)
        return answer

    def _take(self, entry: Entry, answer: Answer | None) -> None:
        """An answer without addresses keeps what there was."""
        if answer is not None and answer.addresses:
            addresses = tuple(SocketAddress(text, entry.port) for text in answer.addresses)
            if addresses != entry.addresses:
                entry.addresses = addresses
                self._count("host_address_changed")
                self._tell(entry)
        entry.known = True
        self._release(entry)

    def _release(self, entry: Entry) -> None:
        waiting, entry.waiting = entry.waiting, []
        self._pending -= len(waiting)
        for done in waiting:
            done()

    def _remove(self, entry: Entry) -> None:
        self._entries.pop(_key(entry.name, entry.port), None)
        self._count("host_removed")
        self._stats.gauge(f"{self._prefix}num_hosts").value = len(self._entries)
        entry.addresses = ()
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        for watcher in self.watchers:
            watcher(_key(entry.name, entry.port))

    def _count(self, name: str) -> None:
        self._stats.counter(self._prefix + name).value += 1


def _key(name: str, port: int) -> str:
    return f"{name}:{port}"


def split_authority(authority: bytes, default_port: int) -> tuple[str, int]:
    """Name and port of a Host header; ('', 0) where it has none."""
    text = authority.decode("latin-1").lower()
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, ""
    elif ":" in host and not host.startswith("["):
        return "", 0
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        return "", 0
    return host.strip("[]"), int(port) if port else default_port
