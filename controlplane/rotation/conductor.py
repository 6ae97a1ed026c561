"""Leads a running mesh from one authority to the next, a step whenever all proxies are ready.

    phase      what is done there                        then
    STAGED     nothing, until somebody says go           prepare
    PREPARED   push both roots, wait for "trust"         issue
    ISSUING    push who issues, wait for "certificates"  retire
    STEADY     push the new root, show "distrust"        it is over

What is on disk (certs.steps) is what counts: after a restart a rotation goes on where it was, and
in each phase everybody can talk to everybody, so that one may stay in it as long as it takes. How
long that is, is decided by the proxies (progress.py) or by a person who names those that nobody
should wait for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from certs import steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.rotation import Phase
from certs.store import StoredAuthority, load_store
from controlplane.ca.live import LiveAuthority
from controlplane.rotation.progress import Need, Progress, ProxyProgress
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.rotation")

LOOK_EVERY_S = 0.1
PER_PROXY_S = 0.0002
"""Looking at all of a large mesh takes a while: then it is looked at less often."""
SETTLE_S = 1.0
"""What was begun before the last acknowledgement, a handshake say, is over by then."""
RETRY_S = 5.0
_WAITS: dict[Phase, Need] = {Phase.PREPARED: "trust", Phase.ISSUING: "certificates"}


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """Where it is. `waiting_for` '' and no proxies: nothing is waited for."""

    phase: Phase
    issuing: str
    other: str
    waiting_for: Need | str = ""
    proxies: tuple[ProxyProgress, ...] = ()
    problem: str = ""

    @property
    def over(self) -> bool:
        return self.phase is Phase.STEADY and not self.waiting_for


class Conductor:
    """One per control plane. `resume` at its start; `publish` has all streams look at what is new.

    passphrase: of the keys in state_dir. hold_s: how long both roots are trusted at least before
    the new one signs, for those who fetch our bundle from time to time. why_not: why none may be
    led now, '' if one may. settle_s, look_every_s: for tests."""

    def __init__(
        self,
        state_dir: Path,
        authority: LiveAuthority,
        progress: Progress,
        publish: Callable[[], None],
        clock: Callable[[], float] = time.time,
        *,
        hold_s: float = 0.0,
        settle_s: float = SETTLE_S,
        look_every_s: float = LOOK_EVERY_S,
        passphrase: bytes | None = None,
        why_not: Callable[[], str] | None = None,
    ) -> None:
        self._why_not = why_not or (lambda: "")
        self._state_dir = state_dir
        self._passphrase = passphrase
        self._authority = authority
        self._progress = progress
        self._publish = publish
        self._clock = clock
        self._hold_s = hold_s
        self._settle_s = settle_s
        self._look_every_s = look_every_s
        self._without: frozenset[str] = frozenset()
        self._driving: asyncio.Task[None] | None = None
        self._need: Need | None = None
        self._problem = ""
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()

    # ------------------------------------------------------------------ what people ask for

    def status(self) -> RotationStatus:
        state = self._authority.stored.state
        proxies = tuple(self._progress.of(self._need, self._without)) if self._need else ()
        return RotationStatus(
            state.phase, state.issuing, state.other, self._need or "", proxies, self._problem
        )

    async def changed(self) -> None:
        """Returns after the next step, or after a while: what proxies lack may have changed."""
        try:
            async with asyncio.timeout(self._pause_s()):
                await self._changed.wait()
        except TimeoutError:
            pass

    def resume(self) -> None:
        """Goes on with a rotation that a former process has begun."""
        if self._authority.stored.state.phase in _WAITS:
            self._drive()

    async def begin(self, new: Authority) -> None:
        """Stages `new` and goes. CertificateError if another rotation is under way."""
        self._must_be_free()
        async with self._lock:
            now = self._clock()
            what = (self._state_dir, now, new, self._passphrase)
            self._take(await asyncio.to_thread(steps.stage, *what))
        await self.go(new.id)

    async def relist(self, pem: bytes, what: str) -> None:
        """Takes these revocation lists in the place of those that came with who signs now. Not
        published: more has to follow from it. CertificateError as `steps.relist`."""
        async with self._lock:
            lists = (self._state_dir, pem, what, self._clock(), self._passphrase)
            work = asyncio.to_thread(steps.relist, *lists)
            self._authority.swap(await asyncio.shield(spawn(work, "new revocation lists")))

    async def go(self, target: str, without: frozenset[str] = frozenset()) -> None:
        """Leads to the staged `target`; returns when it is under way. `without`: node ids that
        nobody waits for. CertificateError if that is not what is under way."""
        self._must_be_free()
        async with self._lock:
            await self._reload()
            state = self._authority.stored.state
            if target not in (state.target, state.issuing if state.phase is Phase.STEADY else ""):
                raise CertificateError(
                    f"{target} is not staged: the control plane's state has "
                    f"{state.target or 'no rotation'} ({state.phase})"
                )
            self._without = without
            if state.phase is Phase.STAGED:
                await self._step(steps.prepare, target)
            self._drive()

    async def abort(self, target: str) -> None:
        """Back to the authority that signed before; where the new one signs already, step by step.
        CertificateError: there is nothing to give up."""
        async with self._lock:
            await self._reload()
            await self._step(steps.abort, target)
            self._without = frozenset()
            self._drive()

    def _must_be_free(self) -> None:
        if why_not := self._why_not():
            raise CertificateError(why_not)

    # ------------------------------------------------------------------ step by step

    def _drive(self) -> None:
        if self._driving is not None:
            self._driving.cancel()
        self._driving = spawn(self._lead(), "rotation of the authority")

    async def _lead(self) -> None:
        """Until it is over. What goes wrong with the disk is said, and tried again."""
        while (phase := self._authority.stored.state.phase) in _WAITS:
            await self._wait(_WAITS[phase])
            if phase is Phase.PREPARED:
                await self._hold()
            try:
                async with self._lock:
                    await self._next(phase)
                self._problem = ""
            except (CertificateError, OSError) as error:
                self._problem = str(error)
                log.error("the rotation does not go on: %s", error)
                await asyncio.sleep(RETRY_S)
        if phase is Phase.STEADY:
            await self._wait("distrust")
        self._need = None
        self._note()
        log.warning("the authority %s signs, and no other is trusted", self._authority.authority.id)

    async def _next(self, phase: Phase) -> None:
        target = self._authority.stored.state.target
        if phase is Phase.PREPARED:
            await self._step(steps.issue, target)
        else:
            await self._step(partial(steps.retire, acknowledged=True), target)

    async def _step(self, step: Callable[..., StoredAuthority], target: str) -> None:
        # Shielded: a step that is being written must not be forgotten.
        known = partial(step, passphrase=self._passphrase)
        writing = asyncio.to_thread(known, self._state_dir, target, self._clock())
        self._take(await asyncio.shield(spawn(writing, "step of a rotation")))

    async def _reload(self) -> None:
        """`weft ca` stages on disk, in a process of its own."""
        what = (self._state_dir, self._clock(), self._passphrase)
        self._take(await asyncio.to_thread(load_store, *what))

    def _take(self, stored: StoredAuthority) -> None:
        before = self._authority.stored
        if stored.state == before.state:
            return
        self._authority.swap(stored)
        log.warning(
            "rotation of the authority: %s, %s signs, other %s",
            stored.state.phase,
            stored.state.issuing,
            stored.state.other or "-",
        )
        self._publish()
        self._note()

    async def _wait(self, need: Need) -> None:
        """Until nobody holds up the next step, and what they began before has ended."""
        self._need = need
        self._note()
        named: tuple[str, ...] = ()
        while True:
            lacking = [one for one in self._progress.of(need, self._without) if one.holds_up]
            if not lacking:
                await asyncio.sleep(self._settle_s)
                if not any(one.holds_up for one in self._progress.of(need, self._without)):
                    return
            ids = tuple(one.node_id for one in lacking if one.state in ("away", "refused"))
            if ids and ids != named:
                named = ids
                log.warning('rotation waits for "%s" of %s', need, ", ".join(ids[:20]))
            await asyncio.sleep(self._pause_s())

    async def _hold(self) -> None:
        """Until everybody who fetches our bundle has had the time to."""
        until = self._authority.stored.state.since + self._hold_s
        while (left_s := until - self._clock()) > 0:
            self._problem = f"federated meshes have {left_s:.0f} s left to fetch the bundle"
            await asyncio.sleep(self._pause_s())
        self._problem = ""

    def _pause_s(self) -> float:
        return self._look_every_s + PER_PROXY_S * self._progress.count

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
