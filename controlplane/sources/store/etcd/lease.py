"""A lease of etcd that lives as long as this process: what hangs on it ends with us.

lease = Lease(client, ttl_s=15, renewed)
await lease.begin()
await lease.run()      # until cancelled
await lease.end()      # at once, and all that hangs on it
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from controlplane.sources.store.etcd.client import Away, EtcdClient, Refused

log = logging.getLogger("weft.controlplane.store")

PER_LIFE = 3
"""How often it is renewed in its time."""


class Lease:
    def __init__(
        self,
        client: EtcdClient,
        ttl_s: int,
        kept: Callable[[], None],
        begun_anew: Callable[[], Awaitable[None]],
    ) -> None:
        """kept: called each time that it was not over. begun_anew: when it was, and there is
        another."""
        self._client = client
        self._ttl_s = ttl_s
        self._kept = kept
        self._begun_anew = begun_anew
        self._owed = False
        self.id = 0
        """0: there is none now."""

    async def begin(self) -> None:
        """Raises Away and Refused."""
        self.id = await self._client.grant(self._ttl_s)

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._ttl_s / PER_LIFE)
            try:
                await self._renew()
            except (Away, Refused) as error:
                log.info("the lease is not renewed: %s", error)

    async def _renew(self) -> None:
        if self.id and await self._client.keep_alive(self.id):
            self._kept()
        else:
            log.warning("the lease has run out: beginning another")
            self.id, self._owed = 0, True
            await self.begin()
        if self._owed:
            await self._begun_anew()
            self._owed = False

    async def end(self) -> None:
        """What fails is passed over: it runs out."""
        ours, self.id = self.id, 0
        if not ours:
            return
        try:
            async with asyncio.timeout(1.0):
                await self._client.revoke(ours)
        except (Away, Refused, TimeoutError) as error:
            log.info("the lease is not given back: %s", error)
