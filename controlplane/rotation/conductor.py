"""Leads a running mesh from one authority to the next, a step whenever all proxies are ready.

    phase      what is done there                        then
    STAGED     nothing, until somebody says go           prepare
    PREPARED   push both roots, wait for "trust"         issue
    ISSUING    push who issues, wait for "certificates"  retire
    STEADY     push the new root, show "distrust"        it is over

What is on disk (certs.steps) is what counts: after a restart a rotation goes on where it was, and
in each phase everybody can talk to everybody, so that one may stay in it as long as it takes. How
long that is, is decided by the proxies (progress.py) or by a person who names those that nobody
should wait for. Of several replicas (company.py) each follows it, and one takes the steps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from certs import steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.rotation import Phase, State
from certs.store import StoredAuthority, load_store
from controlplane.ca.live import LiveAuthority
from controlplane.rotation.company import Alone, Company
from controlplane.rotation.progress import Need, Progress, ProxyProgress
from controlplane.sources.store.values import StoreAway
from controlplane.tasks import spawn
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.rotation")

LOOK_EVERY_S = 0.1
PER_PROXY_S = 0.0002
"""Looking at all of a large mesh takes a while: then it is looked at less often."""
SETTLE_S = 1.0
"""What was begun before the last acknowledgement, a handshake say, is over by then."""
RETRY_S = 5.0
_WAITS: dict[Phase, Need] = {Phase.PREPARED: "trust", Phase.ISSUING: "certificates"}


@frozen
class RotationStatus:
    """Where it is. `waiting_for` '' and no proxies: nothing is waited for. led: it goes on yet."""

    phase: Phase
    issuing: str
    other: str
    waiting_for: Need | str = ""
    proxies: tuple[ProxyProgress, ...] = ()
    problem: str = ""
    led: bool = False

    @property
    def over(self) -> bool:
        return self.phase is Phase.STEADY and not self.waiting_for and not self.led


class Conductor:
    """One per control plane. `resume` at its start; `publish` has all streams look at what is new.

    passphrase: of the keys in state_dir. hold_s: how long both roots are trusted at least before
    the new one signs, for those who fetch our bundle from time to time. company: of replicas.
    settle_s, look_every_s: for tests."""

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
        company: Company | None = None,
    ) -> None:
        self._company = company or Alone(state_dir, progress)
        self._state_dir = state_dir
        self._passphrase = passphrase
        self._authority = authority
        self._publish = publish
        self._clock = clock
        self._hold_s = hold_s
        self._settle_s = settle_s
        self._look_every_s = look_every_s
        self._driving: asyncio.Task[None] | None = None
        self._need: Need | None = None
        self._problem = ""
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        authority.listen(self.resume)

    # ------------------------------------------------------------------ what people ask for

    def status(self) -> RotationStatus:
        state = self._authority.stored.state
        # A step that was just taken is not waited for yet.
        need = self._need if self._need == _WAITS.get(state.phase, "distrust") else None
        proxies = tuple(self._company.of(need)) if need else ()
        return RotationStatus(
            *(state.phase, state.issuing, state.other, need or "", proxies),
            self._problem or (self._company.problem if need else ""),
            led=self._need is not None,
        )

    async def changed(self) -> None:
        """Returns after the next step, or after a while: what proxies lack may have changed."""
        try:
            async with asyncio.timeout(self._pause_s()):
                await self._changed.wait()
        except TimeoutError:
            pass

    def resume(self) -> None:
        """Goes on with a rotation that a former process, or another replica, has begun."""
        idle = self._driving is None or self._driving.done()
        if idle and self._authority.stored.state.phase in _WAITS:
            self._drive()

    async def begin(self, new: Authority) -> None:
        """Stages `new` and goes. CertificateError if another rotation is under way."""

        def stage(folder: Path) -> StoredAuthority:
            return steps.stage(folder, self._clock(), new, self._passphrase)

        async with self._lock:
            self._take(await self._company.step(stage))
        await self.go(new.id)

    async def relist(self, pem: bytes, what: str) -> None:
        """Takes these revocation lists in the place of those that came with who signs now. Not
        published: more has to follow from it. CertificateError as `steps.relist`."""

        def relist(folder: Path) -> StoredAuthority:
            return steps.relist(folder, pem, what, self._clock(), self._passphrase)

        async with self._lock:
            self._authority.swap(await self._company.step(relist))

    async def put_forward(self) -> None:
        """What `weft ca` has staged on disk, in a process of its own, all replicas know then.
        CertificateError: another rotation is under way elsewhere."""
        async with self._lock:
            await self._reload()

    async def go(self, target: str, without: frozenset[str] = frozenset()) -> None:
        """Leads to the staged `target`; returns when it is under way. `without`: node ids that
        nobody waits for. CertificateError if that is not what is under way."""
        async with self._lock:
            await self._reload()
            state = self._authority.stored.state
            if target not in (state.target, state.issuing if state.phase is Phase.STEADY else ""):
                raise CertificateError(
                    f"{target} is not staged: the control plane's state has "
                    f"{state.target or 'no rotation'} ({state.phase})"
                )
            await self._company.excuse(without)
            if state.phase is Phase.STAGED:
                await self._step(steps.prepare, target)
            self._drive()

    async def abort(self, target: str) -> None:
        """Back to the authority that signed before; where the new one signs already, step by step.
        CertificateError: there is nothing to give up."""
        async with self._lock:
            await self._reload()
            await self._step(steps.abort, target)
            await self._company.excuse(frozenset())
            self._drive()

    # ------------------------------------------------------------------ step by step

    def _drive(self) -> None:
        if self._driving is not None:
            self._driving.cancel()
        self._driving = spawn(self._lead(), "rotation of the authority")

    async def _lead(self) -> None:
        """Until it is over. What goes wrong with the disk is said, and tried again."""
        while (state := self._authority.stored.state).phase in _WAITS:
            await self._wait(_WAITS[state.phase], state)
            if state.phase is Phase.PREPARED:
                await self._hold(state)
            if state != self._authority.stored.state:
                continue  # another replica has taken the step
            if not await self._company.leads():
                await asyncio.sleep(self._pause_s())
                continue
            try:
                async with self._lock:
                    await self._next(state)
                self._problem = ""
            except (CertificateError, OSError) as error:
                self._problem = error.reason if isinstance(error, StoreAway) else str(error)
                log.error("the rotation does not go on: %s", self._problem)
                await asyncio.sleep(RETRY_S)
        if state.phase is Phase.STEADY:
            await self._wait("distrust", state)
        await self._company.rests()
        self._need = None
        self._note()
        log.warning("the authority %s signs, and no other is trusted", self._authority.authority.id)

    async def _next(self, state: State) -> None:
        if state != self._authority.stored.state:
            return
        if state.phase is Phase.PREPARED:
            await self._step(steps.issue, state.target, alone=False)
        else:
            await self._step(partial(steps.retire, acknowledged=True), state.target, alone=False)

    async def _step(
        self, step: Callable[..., StoredAuthority], target: str, *, alone: bool = True
    ) -> None:
        def work(folder: Path) -> StoredAuthority:
            return step(folder, target, self._clock(), passphrase=self._passphrase)

        self._take(await self._company.step(work, alone=alone))

    async def _reload(self) -> None:
        """`weft ca` stages on disk, in a process of its own."""

        def load(folder: Path) -> StoredAuthority:
            return load_store(folder, self._clock(), self._passphrase)

        self._take(await self._company.step(load))

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

    async def _wait(self, need: Need, state: State) -> None:
        """Until nobody holds up the next step, and what they began before has ended; or until the
        state is another one."""
        self._need = need
        self._note()
        named: tuple[str, ...] = ()
        settled = False
        while state == self._authority.stored.state:
            lacking = [one for one in self._company.of(need) if one.holds_up]
            if not lacking and not self._company.problem:
                if settled:
                    return
                settled = True
                await asyncio.sleep(self._settle_s)
                continue
            settled = False
            ids = tuple(one.node_id for one in lacking if one.state in ("away", "refused"))
            if ids and ids != named:
                named = ids
                log.warning('rotation waits for "%s" of %s', need, ", ".join(ids[:20]))
            await asyncio.sleep(self._pause_s())

    async def _hold(self, state: State) -> None:
        """Until everybody who fetches our bundle has had the time to; or until the state is another
        one."""
        if not self._hold_s:
            return
        until = state.since + self._hold_s
        while state == self._authority.stored.state and (left_s := until - self._clock()) > 0:
            self._problem = f"federated meshes have {left_s:.0f} s left to fetch the bundle"
            await asyncio.sleep(self._pause_s())
        self._problem = ""

    def _pause_s(self) -> float:
        return self._look_every_s + PER_PROXY_S * self._company.count

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
