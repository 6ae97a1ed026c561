"""A rehearsal of all replicas: one is asked, each has its own proxies try, and tells of it.

rehearsals/ID            what is to be rehearsed; ends with who was asked
rehearsals/ID/REPLICA    what its proxies did
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex

from certs.errors import CertificateError
from controlplane.ca.live import LiveAuthority
from controlplane.rotation.others import Others
from controlplane.rotation.progress import ProxyProgress
from controlplane.rotation.rehearsal import WAIT_S, Rehearsals
from controlplane.rotation.roster import ProxyKey
from controlplane.rotation.words import progress_from_bytes, progress_to_bytes
from controlplane.sources.store.sealed import SealedValues
from controlplane.sources.store.values import Change, SharedStore, StoreAway
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.rotation")

PREFIX = "rehearsals/"
TAKEN_WITHIN_S = 5.0
ANSWERED_WITHIN_S = WAIT_S + 2 * TAKEN_WITHIN_S
LOOK_EVERY_S = 0.05
NO_ANSWER = "has not said what its proxies did"


class SharedRehearsals:
    """Make it before the store is opened. put_forward: has all replicas know what is staged."""

    def __init__(
        self,
        store: SharedStore,
        sealed: SealedValues,
        me: str,
        others: Others,
        authority: LiveAuthority,
        own: Rehearsals,
        put_forward: Callable[[], Awaitable[None]],
        *,
        answered_within_s: float = ANSWERED_WITHIN_S,
    ) -> None:
        self._store = store
        self._sealed = sealed
        self._me = me
        self._others = others
        self._authority = authority
        self._own = own
        self._put_forward = put_forward
        self._answered_within_s = answered_within_s
        self._answers: dict[str, dict[str, tuple[ProxyProgress, ...]]] = {}
        store.listen(PREFIX, self._told)

    async def run(self, target: str) -> tuple[ProxyProgress, ...]:
        """As `Rehearsals.run`, of the proxies of all replicas. Raises StoreAway, too."""
        await self._put_forward()
        name = PREFIX + token_hex(8)
        answers = self._answers[name] = {}
        asked = self._sealed.seal(name, json.dumps([self._me, target]).encode())
        try:
            await self._store.commit({name: asked}, {name})
            own = await self._own.run(target)
            await self._gather(answers)
            return self._merged(own, answers)
        finally:
            del self._answers[name]
            with suppress(StoreAway):
                await self._store.commit({name: None})

    async def _gather(self, answers: dict[str, tuple[ProxyProgress, ...]]) -> None:
        await _until(lambda: answers.keys() >= self._others.here().keys(), self._answered_within_s)

    def _merged(
        self, own: tuple[ProxyProgress, ...], answers: dict[str, tuple[ProxyProgress, ...]]
    ) -> tuple[ProxyProgress, ...]:
        """Who is away from one replica may be at another."""
        found: dict[ProxyKey, ProxyProgress] = {}
        for one in (one for said in (own, *answers.values()) for one in said):
            key = (one.node_id, one.identity)
            if one.state != "away" or key not in found:
                found[key] = one
        for replica, address in self._others.here().items():
            if replica not in answers:
                found[f"replica {address}", ""] = ProxyProgress(
                    f"replica {address}", "", "waiting", NO_ANSWER
                )
        return tuple(found[key] for key in sorted(found))

    # ------------------------------------------------------------------ for another replica

    def _told(self, change: Change) -> None:
        for name, value in change.values.items():
            asked, slash, replica = name.removeprefix(PREFIX).partition("/")
            if value is None or change.whole:
                self._sealed.forget(name)  # what was asked before we came is not for us
                continue
            try:
                opened = self._sealed.open(name, value)
                if not slash:
                    who, target = json.loads(opened)
                    if who != self._me:
                        spawn(self._answer(name, str(target)), "rehearsal for another replica")
                elif (answers := self._answers.get(PREFIX + asked)) is not None:
                    answers[replica] = progress_from_bytes(opened)
            except CertificateError as error:
                log.error("%s does not count: %s", name, error)

    async def _answer(self, asked: str, target: str) -> None:
        try:
            await self._taken(target)
            found = await self._own.run(target)
        except CertificateError as error:
            found = (ProxyProgress(f"replica {self._me}", "", "refused", str(error)),)
        name = f"{asked}/{self._me}"
        try:
            await self._store.commit(
                {name: self._sealed.seal(name, progress_to_bytes(found))}, {name}
            )
            await asyncio.sleep(TAKEN_WITHIN_S)
            await self._store.commit({name: None})
        except StoreAway as error:
            log.error("the rehearsal is not told: %s", error.reason)

    async def _taken(self, target: str) -> None:
        """Until what was staged elsewhere is here, or for long enough."""
        await _until(lambda: self._authority.stored.state.target == target, TAKEN_WITHIN_S)


async def _until(met: Callable[[], bool], at_most_s: float) -> None:
    end = time.monotonic() + at_most_s
    while True:
        if met() or time.monotonic() > end:
            return
        await asyncio.sleep(LOOK_EVERY_S)
