"""STRICT_DNS and LOGICAL_DNS: a cluster's hosts are what its names resolve to, asked repeatedly.

Each name is asked for by itself: all at once, and again when its own time has come. An error keeps
the last addresses, as DNS being away is no reason to drop hosts that may well be alive; an answer
without addresses does not (Envoy's rules), but for LOGICAL_DNS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from proxy.config.model import ClusterLoadAssignment, Endpoint, LocalityEndpoints, SocketAddress
from proxy.config.model.discovery import Dns
from proxy.tasks import spawn
from proxy.upstream.cluster import Cluster
from proxy.upstream.membership import Found, found_at
from proxy.upstream.resolver import Answer, ResolveFailed, Resolver


class DnsMembership:
    """Resolves from its making until `stop`. warm: every name was answered, or failed, once;
    on_warm is called then."""

    def __init__(
        self,
        cluster: Cluster,
        assignment: ClusterLoadAssignment,
        resolver: Resolver,
        on_warm: Callable[[], None] = lambda: None,
    ) -> None:
        self.cluster = cluster
        self.resolver = resolver
        self.warm = False
        self._on_warm = on_warm
        self._logical = cluster.config.type == "LOGICAL_DNS"
        self._replaces = bool(cluster.hosts)  # which serve until these are warm
        self._placed = False
        cluster.choosing.take(assignment)
        self._names = [
            _Name(self, endpoint, group)
            for group in assignment.localities
            for endpoint in group.endpoints
        ]
        self._unanswered = len(self._names)
        if not self._names:
            self.answered()

    def stop(self) -> None:
        for name in self._names:
            name.stop()

    def answered(self) -> None:
        """One more name was answered or has failed for the first time."""
        self._unanswered -= 1
        if self._unanswered <= 0 and not self.warm:
            self.warm = True
            if self._replaces and any(name.addresses for name in self._names):
                self.update()
            self._on_warm()

    def update(self) -> None:
        """What one name resolves to has changed."""
        if self._replaces and not self.warm:
            return
        if not self._logical:
            self.cluster.set_hosts([found for name in self._names for found in name.found()])
        elif self._placed:
            self.cluster.hosts[0].move(self._names[0].addresses)
        else:
            self._placed = True
            self.cluster.set_hosts(list(self._names[0].found())[:1])
            for host in self.cluster.hosts:
                host.move(self._names[0].addresses)


class _Name:
    """One endpoint whose name is resolved again and again."""

    def __init__(self, owner: DnsMembership, endpoint: Endpoint, group: LocalityEndpoints) -> None:
        self._owner = owner
        name = endpoint.address.host
        self._endpoint = replace(endpoint, hostname=endpoint.hostname or name)
        self._group = group
        self.addresses: tuple[SocketAddress, ...] = ()
        self._task = spawn(self._run(), f"dns {owner.cluster.name} {name}")

    def stop(self) -> None:
        self._task.cancel()

    def found(self) -> Iterator[Found]:
        for address in self.addresses:
            yield found_at(address, self._endpoint, self._group)

    async def _run(self) -> None:
        cluster = self._owner.cluster
        random, failures, first = cluster.random, 0, True
        while True:
            options = cluster.config.dns
            answer = await self._resolve(options)
            if answer is None:
                wait_s = back_off_s(options, failures, random)
                failures += 1
            else:
                failures = 0
                wait_s = refresh_s(options, answer, random)
                self._take(answer)
            if first:
                first = False
                self._owner.answered()
            await asyncio.sleep(wait_s)

    async def _resolve(self, options: Dns) -> Answer | None:
        stats = self._owner.cluster.stats
        stats.add("update_attempt")
        try:
            answer = await self._owner.resolver.resolve(self._endpoint.address.host, options.family)
        except ResolveFailed:
            stats.add("update_failure")
            return None
        stats.add("update_success")
        return answer

    def _take(self, answer: Answer) -> None:
        port = self._endpoint.address.port
        addresses = tuple(SocketAddress(text, port) for text in answer.addresses)
        logical = self._owner.cluster.config.type == "LOGICAL_DNS"
        if addresses == self.addresses or (logical and not addresses):
            if not logical:
                self._owner.cluster.stats.add("update_no_rebuild")
            return
        self.addresses = addresses
        self._owner.update()


def refresh_s(options: Dns, answer: Answer, random: Random) -> float:
    """When to ask again after an answer."""
    wait_s = options.refresh_s
    if options.respect_ttl and answer.addresses and answer.ttl_s:
        wait_s = answer.ttl_s
    return wait_s + random.random() * options.jitter_s


def back_off_s(options: Dns, failures: int, random: Random) -> float:
    """When to ask again after an error, `failures` being those before it."""
    if options.failure_base_s is None:
        return options.refresh_s
    most: float = min(options.failure_base_s * 2**failures, options.failure_max_s)
    return max(random.random() * most, 0.001)
