"""Several replicas rotate one authority: each tells of its proxies, one of them takes the steps.

    rotation/lead       who takes them; ends with it, and another one goes on
    rotation/without    the nodes that nobody waits for, and in which rotation

A step is made in the store, under the condition that nobody else has made one and that the lead is
still ours. So none is taken while the store is away, nor by a replica that was cut off for longer
than its lease. What the others say is in others.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from contextlib import suppress
from typing import NoReturn, Protocol

from certs.errors import CertificateError
from certs.rotation import Phase
from certs.store import StoredAuthority
from controlplane.ca.live import LiveAuthority
from controlplane.rotation.company import Work
from controlplane.rotation.others import MEMBERS, REPORTS, Others
from controlplane.rotation.progress import Need, Progress, ProxyProgress
from controlplane.rotation.roster import UNKNOWN_LIFE_S, ProxyKey, Roster, end_of
from controlplane.rotation.words import (
    Member,
    Report,
    mark,
    members_to_bytes,
    part_of,
    report_of,
    report_to_bytes,
)
from controlplane.sources.store.sealed import SealedValues
from controlplane.sources.store.values import (
    Change,
    SharedStore,
    StoreAway,
    StoreConflict,
    Values,
)
from controlplane.tasks import spawn
from controlplane.xds.service import Connection
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.rotation")

LEAD = "rotation/lead"
WITHOUT = "rotation/without"
TELL_EVERY_S = 0.2
TELL_AT_REST_EVERY_S = 5.0
"""Which proxies there are, while no rotation is under way."""
PER_PROXY_S = 0.0002
MAX_BYTES = 256 << 10
"""Of one commit."""
NEEDS: dict[Phase, Need] = {
    Phase.PREPARED: "trust",
    Phase.ISSUING: "certificates",
    Phase.STEADY: "distrust",
}


class Shared(Protocol):
    """What is needed of `controlplane.ca.shared_authority.SharedAuthority`."""

    def step(self, work: Work, condition: Values) -> Awaitable[StoredAuthority]: ...


@frozen
class Ours:
    """Our own part. me: our id among the replicas."""

    me: str
    roster: Roster
    progress: Progress


class Together:
    """A Company. Make it before the store is opened; then `run` it."""

    def __init__(
        self,
        store: SharedStore,
        sealed: SealedValues,
        shared: Shared,
        authority: LiveAuthority,
        ours: Ours,
        others: Others,
        clock: Callable[[], float],
        *,
        tell_every_s: float = TELL_EVERY_S,
    ) -> None:
        self._store = store
        self._sealed = sealed
        self._me = ours.me
        self._shared = shared
        self._authority = authority
        self._roster = ours.roster
        self._progress = ours.progress
        self._clock = clock
        self._tell_every_s = tell_every_s
        self._others = others
        self._lead: bytes | None = None
        self._led = False  # by whoever has sealed it; else it does not count
        self._mine: bytes | None = None
        self._without: tuple[str, frozenset[str]] = ("", frozenset())
        self._told: Report | None = None
        self._told_of: dict[str, tuple[Member, ...]] = {}
        self._counted = -1
        self._known: dict[Connection, tuple[str, Member]] = {}
        self._woken = asyncio.Event()
        authority.listen(self._woken.set)
        store.listen("rotation/", self._heard)

    # ------------------------------------------------------------------ Company

    @property
    def problem(self) -> str:
        return f"the store {self._store.place} is away" if self._store.away else ""

    @property
    def count(self) -> int:
        return self._progress.count

    @property
    def _excused(self) -> frozenset[str]:
        target, names = self._without
        state = self._authority.stored.state
        return names if target == (state.target or state.issuing) else frozenset()

    def of(self, need: Need) -> Iterable[ProxyProgress]:
        """One line for each proxy; where two replicas know it, of the one where it is."""
        without, elsewhere = self._excused, self._others.connected()
        ours = self._roster.connected()
        here = elsewhere | ours.keys()
        found: dict[ProxyKey, ProxyProgress] = {}
        for one in self._others.gone(here, without, self._clock()):
            found[one.node_id, one.identity] = one
        at = mark(self._authority.stored.state) if not self._at_rest else ""
        for one in self._others.progress(at, without):
            if one.state != "away" or (one.node_id, one.identity) not in here:
                found[one.node_id, one.identity] = one
        for one in self._progress.of(need, without):
            key = (one.node_id, one.identity)
            known = found.get(key)
            if (key in ours or key not in elsewhere) and not (known and known.holds_up):
                found[key] = one
        return [found[key] for key in sorted(found)]

    async def excuse(self, names: frozenset[str]) -> None:
        target = self._authority.stored.state.target
        if names or self._without[1]:
            value = json.dumps([target, sorted(names)]).encode()
            await self._store.commit({WITHOUT: self._sealed.seal(WITHOUT, value)})

    async def leads(self) -> bool:
        if not self._led:
            self._mine = mine = self._sealed.seal(LEAD, self._me.encode())
            try:
                await self._store.commit({LEAD: mine}, {LEAD}, expected={LEAD: self._lead})
            except (StoreConflict, StoreAway):
                return False
            log.warning("this replica leads the rotation of the authority")
        return self._leads

    async def rests(self) -> None:
        if self._leads:
            try:
                await self._store.commit({LEAD: None}, expected={LEAD: self._lead})
            except (StoreConflict, StoreAway) as error:
                log.info("the lead is not given back: %s", error)

    async def step(self, work: Work, *, alone: bool = True) -> StoredAuthority:
        condition: Values = {} if alone else {LEAD: self._mine or b""}
        # Shielded: a step that is being written must not be forgotten.
        doing = spawn(_done(self._shared, work, condition), "step of all")
        found: StoredAuthority | CertificateError | OSError = await asyncio.shield(doing)
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def _leads(self) -> bool:
        return self._lead is not None and self._lead == self._mine

    # ------------------------------------------------------------------ what we tell

    async def run(self) -> NoReturn:
        """Tells what is new of our proxies, again and again."""
        while True:
            try:
                await self.tell()
            except StoreAway as error:
                log.info("the other replicas are not told of our proxies: %s", error.reason)
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._woken.wait()

    async def tell(self) -> None:
        """Once. The report comes first, so that no member is taken for ready. StoreAway."""
        elsewhere = self._others.connected()
        self._roster.elsewhere(elsewhere)
        values: dict[str, bytes | None] = {}
        name, report = REPORTS + self._me, self._report()
        if report != self._told:
            values[name] = self._sealed.seal(name, report_to_bytes(report)) if report else None
        here = _Either(elsewhere, self._roster.connected())
        values |= dict.fromkeys(self._others.idle(here, self._clock()))
        there = self._others.values
        parts = self._parts()
        for name, members in parts.items():
            if name not in there or self._told_of.get(name) != members:
                values[name] = self._sealed.seal(name, members_to_bytes(members))
        ours = f"{MEMBERS}{self._me}/"
        values |= dict.fromkeys(
            name for name in there if name.startswith(ours) and name not in parts
        )
        changes = self._roster.changes
        for some in _in_parts(values):
            await self._store.commit(some, {name} & some.keys() if report else ())
        self._told_of, self._told, self._counted = parts, report, changes

    def _parts(self) -> dict[str, tuple[Member, ...]]:
        """Our members by the names that they have in the store."""
        if self._roster.changes == self._counted:
            return self._told_of
        found: dict[str, list[Member]] = {}
        for name, one in self._members():
            found.setdefault(name, []).append(one)
        return {name: tuple(ours) for name, ours in found.items()}

    def _members(self) -> Iterator[tuple[str, Member]]:
        """Each with the part that it is in."""
        known, self._known = self._known, {}
        for key, connection in self._roster.connected().items():
            one = known.get(connection)
            if one is None:  # most are those of before
                leaf = connection.leaf
                until = end_of(leaf) if leaf else connection.connected_at + UNKNOWN_LIFE_S
                one = self._part(key), Member(*key, until, connected=True)
            self._known[connection] = one
            yield one
        for away in self._roster.absent():
            yield self._part(away.key), Member(*away.key, away.until, connected=False)

    def _part(self, key: ProxyKey) -> str:
        return f"{MEMBERS}{self._me}/{part_of(key)}"

    def _report(self) -> Report | None:
        """Of the step that is ours; nothing any more when all is over."""
        state = self._authority.stored.state
        if (need := NEEDS.get(state.phase)) is None:
            return None
        if self._at_rest:
            return None
        found = self._progress.of(need, self._excused)
        return report_of(mark(state), (one for one in found if one.state != "done"))

    @property
    def _at_rest(self) -> bool:
        """Whether no rotation is under way, as far as we know."""
        phase = self._authority.stored.state.phase
        return phase is Phase.STAGED or (phase is Phase.STEADY and not self._led)

    def _pause_s(self) -> float:
        pause_s = TELL_AT_REST_EVERY_S if self._at_rest else self._tell_every_s
        return pause_s + PER_PROXY_S * self.count

    # ------------------------------------------------------------------ what we are told

    def _heard(self, change: Change) -> None:
        if change.whole or LEAD in change.values:
            self._lead = lead = change.values.get(LEAD)
            self._led = lead is not None and (lead == self._mine or self._is_genuine(lead))
            self._woken.set()
        value = change.values.get(WITHOUT)
        if change.whole or WITHOUT in change.values:
            self._without = self._read(value) if value is not None else ("", frozenset())

    def _is_genuine(self, lead: bytes) -> bool:
        try:
            self._sealed.open(LEAD, lead)
        except CertificateError as error:
            log.error("%s does not count: %s", LEAD, error)
            return False
        return True

    def _read(self, value: bytes) -> tuple[str, frozenset[str]]:
        try:
            target, names = json.loads(self._sealed.open(WITHOUT, value))
            return str(target), frozenset(map(str, names))
        except (CertificateError, ValueError) as error:
            log.error("%s does not count: %s", WITHOUT, error)
            return "", frozenset()


async def _done(
    shared: Shared, work: Work, condition: Values
) -> StoredAuthority | CertificateError | OSError:
    """What goes wrong is an answer: it is told by whoever has asked."""
    try:
        return await shared.step(work, condition)
    except (CertificateError, OSError) as error:
        return error


class _Either:
    """What is in one of both."""

    __slots__ = ("_both",)

    def __init__(self, *both: Container[ProxyKey]) -> None:
        self._both = both

    def __contains__(self, key: object) -> bool:
        return any(key in one for one in self._both)


def _in_parts(values: Values) -> Iterator[Values]:
    """In their order, as much at once as a store takes."""
    part: dict[str, bytes | None] = {}
    size = 0
    for name, value in values.items():
        size += len(name) + len(value or b"")
        if part and size > MAX_BYTES:
            yield part
            part, size = {}, len(name) + len(value or b"")
        part[name] = value
    if part:
        yield part
