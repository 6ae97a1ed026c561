"""The store of several replicas: an etcd cluster, listed once and then watched.

What is committed counts for everybody in the order of etcd's revisions. When the cluster is away,
what was told last stays; then the watch goes on behind the last revision, or, when that was
compacted, all is listed anew. What is transient has a lease of this process.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from typing import NoReturn, TypeVar

from controlplane.sources.store.etcd.client import Away, EtcdClient, Refused
from controlplane.sources.store.etcd.lease import Lease
from controlplane.sources.store.etcd.transactions import found_instead, put_if_absent, transaction
from controlplane.sources.store.place import EtcdPlace
from controlplane.sources.store.values import (
    Change,
    Listener,
    Listeners,
    StoreAway,
    StoreConflict,
    StoreError,
    TooMuch,
    Values,
)
from controlplane.tasks import spawn
from protos.gen.etcd import rpc_pb2 as pb

log = logging.getLogger("weft.controlplane.store")

T = TypeVar("T")
OPEN_WITHIN_S = 15.0
SEEN_WITHIN_S = 10.0
PROGRESS_EVERY_S = 5.0
SILENT_S = 20.0
"""A watch that says nothing for so long, though it is asked, is given up."""
BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0


class EtcdStore:
    shared = True

    def __init__(
        self,
        place: EtcdPlace,
        client: EtcdClient,
        told: Callable[[str], None],
        *,
        open_within_s: float = OPEN_WITHIN_S,
        lease_s: int = 15,
    ) -> None:
        """told: gets why the store is away, '' when it is there again; also before it was there."""
        self._place = place
        self._client = client
        self._told = told
        self._open_within_s = open_within_s
        self._listeners = Listeners()
        self._lease = Lease(client, lease_s, self._forget_gone, self._put_again)
        self._transient: dict[str, bytes] = {}
        self._gone: set[str] = set()
        self._revision = 0
        self._moved = asyncio.Event()
        self._heard_at = 0.0
        self._why = ""
        self._works: list[asyncio.Task[NoReturn]] = []

    @property
    def place(self) -> str:
        return str(self._place)

    @property
    def away(self) -> str:
        """Why it is away; '' when it is not."""
        return self._why

    @property
    def lease(self) -> int:
        """What hangs on it ends with this process."""
        return self._lease.id

    def listen(self, prefix: str, listener: Listener) -> None:
        self._listeners.add(prefix, listener)

    async def read(self, prefix: str) -> dict[str, bytes]:
        """What there is now, before anybody is told: for what must be known first. StoreError."""
        start = f"{self._place.prefix}{prefix}".encode()
        pairs, _ = await self._at_first(lambda: self._client.range(start, start + b"\xff"))
        return {self._name(pair): pair.value for pair in pairs}

    async def open(self) -> None:
        await self._at_first(self._list)
        await self._at_first(self._lease.begin)
        self._works = [
            spawn(self._follow(), "watch of the store"),
            spawn(self._lease.run(), "lease of the store"),
        ]

    async def _at_first(self, work: Callable[[], Awaitable[T]]) -> T:
        """For a while again and again. Raises StoreError."""
        reason = "no answer in time"
        try:
            async with asyncio.timeout(self._open_within_s):
                while True:
                    try:
                        return await work()
                    except Away as error:
                        reason = str(error)
                        self._say(reason)
                    await asyncio.sleep(BACKOFF_S)
        except TimeoutError:
            raise StoreError(_unreachable(self._place, reason)) from None
        except Refused as error:
            raise StoreError(
                f"the store {self._place} refuses us: {error}: look at --store-user, "
                "--store-password-file and the certificates"
            ) from None

    async def commit(
        self, values: Values, transient: Collection[str] = (), expected: Values | None = None
    ) -> None:
        """expected: what must be there now; raises StoreConflict if it is not."""
        try:
            if transient and not self._lease.id:
                raise Away("the lease has run out")
            leases = dict.fromkeys(transient, self._lease.id)
            request = transaction(self._place.prefix, values, leases, expected or {})
            answer = await self._client.txn(request)
        except ValueError as error:
            raise TooMuch(f"the store {self._place}: {error}") from None
        except Away as error:
            self._say(str(error))
            raise StoreAway(_not_written(self._place, str(error))) from None
        except Refused as error:
            raise StoreAway(
                f"the store {self._place} does not take it: {error}: nothing was changed"
            ) from None
        if not answer.succeeded:
            found = found_instead(self._place.prefix, expected or {}, answer)
            # Our own, when an answer was lost and we have asked again.
            if any(found.get(name, values[name]) != values[name] for name in values):
                raise StoreConflict(found)
        self._remember(values, transient)
        if self._works and _has_changed(answer.responses):
            await self._seen(answer.header.revision)

    async def close(self) -> None:
        for work in self._works:
            work.cancel()
        await self._lease.end()
        await self._client.close()

    def _remember(self, values: Values, transient: Collection[str]) -> None:
        for name, value in values.items():
            self._transient.pop(name, None)
            self._gone.discard(name)
            if value is not None and name in transient:
                self._transient[name] = value

    async def _seen(self, revision: int) -> None:
        """Until everybody here was told. Raises StoreAway."""
        try:
            async with asyncio.timeout(SEEN_WITHIN_S):
                while self._revision < revision:
                    await self._moved.wait()
        except TimeoutError:
            raise StoreAway(
                f"it is written to the store {self._place}, which does not tell us so: it takes "
                "effect when the watch is there again"
            ) from None

    # ------------------------------------------------------------------ what is told

    async def _list(self) -> None:
        prefix = self._place.prefix.encode()
        pairs, revision = await self._client.range(prefix, prefix[:-1] + b"0")  # '0' is '/' + 1
        values = {self._name(pair): pair.value for pair in pairs}
        self._reached(revision)
        self._listeners.tell(Change(values, whole=True))
        self._say("")

    async def _follow(self) -> NoReturn:
        pause_s = BACKOFF_S
        while True:
            try:
                before = self._revision
                await self._watch()
            except Away as error:
                self._say(str(error))
            except Refused as error:
                self._say(f"it refuses us: {error}")
            except Exception:
                log.exception("the watch of the store is begun anew")
            pause_s = BACKOFF_S if self._revision > before else min(pause_s * 2, MAX_BACKOFF_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def _watch(self) -> None:
        """Until it breaks. What was compacted meanwhile is listed."""
        prefix = self._place.prefix.encode()
        created = pb.WatchCreateRequest(
            key=prefix,
            range_end=prefix[:-1] + b"0",
            start_revision=self._revision + 1,
            progress_notify=True,
        )
        self._heard_at = time.monotonic()
        async with aclosing(self._client.watch(created, self._alive)) as answers:
            async for answer in answers:
                self._heard_at = time.monotonic()
                if answer.compact_revision:
                    log.warning("%s was compacted: listing all of it", self._place)
                    await self._list()
                    return
                if answer.canceled:
                    raise Refused(answer.cancel_reason or "the watch was ended")
                self._say("")
                self._take(answer)

    async def _alive(self) -> None:
        await asyncio.sleep(PROGRESS_EVERY_S)
        if time.monotonic() - self._heard_at > SILENT_S:
            raise Away("it does not answer")

    def _take(self, answer: pb.WatchResponse) -> None:
        """All of one revision is in one answer, as we ask for no fragments."""
        values: dict[str, bytes | None] = {}
        for event in answer.events:
            name, gone = self._name(event.kv), event.type == pb.Event.DELETE
            values[name] = None if gone else event.kv.value
            self._gone.discard(name)
            if gone and name in self._transient:
                self._gone.add(name)  # by somebody, or with our lease: that we shall know soon
            elif not gone and event.kv.lease != self._lease.id:
                self._transient.pop(name, None)  # somebody else's now
        if values:
            self._listeners.tell(Change(values))
            self._reached(max(event.kv.mod_revision for event in answer.events))
        elif answer.watch_id >= 0 and not answer.created:
            # Those that we ask for (-1) may come before their events (etcd issue 15220).
            self._reached(answer.header.revision)

    def _reached(self, revision: int) -> None:
        self._revision = max(self._revision, revision)
        self._moved.set()
        self._moved = asyncio.Event()

    def _name(self, pair: pb.KeyValue) -> str:
        return pair.key.decode(errors="replace").removeprefix(self._place.prefix)

    def _say(self, why: str) -> None:
        if bool(why) != bool(self._why):
            if self._works:
                what = f"is away: {why}" if why else "is there again"
                log.warning("the store %s %s", self._place, what)
            self._why = why
            self._told(why)

    def _forget_gone(self) -> None:
        """The lease is there: somebody has deleted these."""
        for name in self._gone:
            self._transient.pop(name, None)
        self._gone.clear()

    async def _put_again(self) -> None:
        """The lease has run out, and with it went what is transient: it is ours still."""
        ours = dict(self._transient)
        for request in put_if_absent(self._place.prefix, ours, self._lease.id):
            await self._client.txn(request)


def _has_changed(responses: Collection[pb.ResponseOp]) -> bool:
    """Whether there will be an event."""
    return any(
        one.HasField("response_put")
        or one.response_delete_range.deleted
        or _has_changed(one.response_txn.responses)
        for one in responses
    )


def _unreachable(place: EtcdPlace, reason: str) -> str:
    how = "TLS" if place.tls else "without TLS"
    return f"the store {place} can't be reached ({how}): {reason}: start etcd, or correct --store"


def _not_written(place: EtcdPlace, reason: str) -> str:
    return (
        f"the store {place} can't be reached ({reason}): nothing was changed, and what was applied "
        "before stays in force; try again when etcd is back"
    )
