"""The xDS client: session, store and disk put together; snapshots come out.

At start the last good configuration is read from disk. Its versions go to the control plane, so
that only differences come back; it is put in force only if no answer comes within 0.3 s. So a
proxy whose control plane is there never opens a listener of yesterday, and one whose control plane
is away serves at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from certs.errors import CertificateError
from protos.types import CDS, LDS, PUSH_ORDER, SDS, VHDS, short_name
from proxy.config.decode import Resource, decode
from proxy.config.model import Bootstrap, Secret
from proxy.config.snapshot import Snapshot
from proxy.demand import Demand
from proxy.tasks import spawn
from proxy.xds import persist
from proxy.xds.ads import SotwMachine
from proxy.xds.delta import DeltaMachine
from proxy.xds.files import Files
from proxy.xds.intake import Clock, Intake
from proxy.xds.raw import Raw
from proxy.xds.session import Session
from proxy.xds.status import XdsStatus
from proxy.xds.store import Store
from proxy.xds.target import ChannelTls, Target, own_certificate, target_of
from proxy.xds.update import Machine, Update, node_message

if TYPE_CHECKING:
    from proxy.rpc.call import Call

log = logging.getLogger("weft.xds")

LAST_GOOD_GRACE_S = 0.3
ASKS_FOR_LISTENERS = "weft.listeners_on_demand"
COUNTS_CONNECTIONS = "weft.connection_metrics"
"""The client feature (xDS) that says that listeners may come by name, too."""
_SAVE_DELAY_S = 0.25
_SWITCH_INTERVAL_S = 0.0005


class LocalIdentity(Protocol):
    """Who holds the workload's own certificate; `proxy.identity` does."""

    @property
    def secret_name(self) -> str:
        """The SDS name that is answered here, e.g. `default`."""

    @property
    def secret(self) -> Secret | None:
        """The newest one, None while there is none yet."""

    @property
    def standing(self) -> frozenset[str]:
        """SDS names that are for itself, whoever else names them."""

    @property
    def spread_s(self) -> float:
        """Within this time all proxies come again when other roots are trusted."""

    def listen(self, callback: Callable[[Secret], None]) -> None:
        """Has `callback` called in the loop with each new secret from now on."""

    async def told(self, secret: Secret, *, kept: bool = False) -> bool:
        """One of `standing` is new: whether other roots are believed from now on. kept: it was
        read from the disk."""

    def verifies_by(self, origin: str) -> bool:
        """Whether it keeps the roots that were read from the file `origin`."""

    async def roots(self) -> bytes:
        """PEM of those roots as they are now."""

    def refused(self) -> None:
        """The control plane has ended a stream that showed its certificate, without any answer."""


class XdsClient:
    """`run` until cancelled; `on_snapshot` is called in the loop whenever what is warm changed.

    Raises Rejected when made if the way to the control plane is one that gRPC cannot go.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        on_snapshot: Callable[[Snapshot], None],
        *,
        identity: LocalIdentity | None = None,
        state_dir: Path | None = None,
        version: str = "",
        jitter: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
        last_good_grace_s: float = LAST_GOOD_GRACE_S,
        warming: Callable[[], bool] = lambda: False,
        applying: Callable[[], bool] = lambda: False,
        demand: Demand | None = None,
    ) -> None:
        """warming, applying: of what was published something is not warm, is not in force yet;
        `warmed` and `applied` are to be called when that has ended. demand: what requests ask
        for."""
        local = frozenset({identity.secret_name} if identity is not None else ())
        self._bootstrap = bootstrap
        self._on_snapshot = on_snapshot
        self._warming = warming
        self._applying_config = applying
        self._jitter = jitter
        self._renewed = False
        self._handing_on = 0
        self._told: dict[str, Secret] = {}
        self._were_warm = False
        self._identity = identity
        self._state_dir = state_dir
        self._last_good_grace_s = last_good_grace_s
        standing = identity.standing if identity is not None else frozenset()
        self._store = Store(bootstrap, local, time.monotonic(), standing)
        self._intake = Intake(self._store, Clock(time.monotonic, wall_clock, _pause, _aside))
        self._session: Session | None = None
        if bootstrap.ads is not None:
            target = target_of(bootstrap, local)
            machine = _machine(bootstrap, version)
            self._session = Session(
                target, bootstrap.ads, machine, self, lambda: self._credentials(target), jitter
            )
        self._demand = demand
        if demand is not None:
            demand.on_change = self._demanded
        self.published = asyncio.Event()  # what is static or in files has been handed on
        self._files = Files(self._store.files, self._take_file, self._changed)
        self._published: int | None = None
        self._answered: int | None = None
        self._saved: int | None = None
        self._hold_until_s: float | None = None
        self._applying = False
        self._from_last_good = False
        self._save_pending = False
        self._time_changed = asyncio.Event()
        self._have_identity = asyncio.Event()

    @property
    def connected(self) -> bool:
        """A stream is open and was answered."""
        return self._session is not None and self._session.connected

    def beside(self, address: str, path: str) -> Call | None:
        """A call on the discovery stream's connection, which knows us: as `Session.beside`."""
        return self._session.beside(address, path) if self._session is not None else None

    def status(self) -> XdsStatus:
        """For /config_dump and /ready."""
        session = self._session
        return XdsStatus(
            configured=session is not None,
            connected=self.connected,
            control_plane=session.control_plane if session else "",
            from_last_good=self._from_last_good,
            initial_fetch_done=session is None or self._first_answers_are_here(),
            in_flight=self._applying or self._published != self._store.changes,
            warming_clusters=self._store.warming(CDS),
            warming_listeners=self._store.warming(LDS),
            resources=self._raws(),
            rejected=tuple(self._intake.rejected.values()),
        )

    async def run(self) -> None:
        """Publishes what is static or in files at once, then follows the control plane for ever."""
        self._follow_identity()
        try:
            if self._store.files():
                await self._files.follow()
            self._publish()
            self.published.set()
            await self._follow_session()
        finally:
            self._files.close()

    async def _follow_session(self) -> None:
        if self._session is None:
            await asyncio.Event().wait()
            return
        await self._restore()
        timer = spawn(self._keep_time(), "xds timer")
        try:
            await self._session.run()
        finally:
            timer.cancel()
            if self._save_pending:
                self._save(self._raws())

    # ----------------------------------------------------------------- what Session asks for

    def subscriptions(self) -> Mapping[str, frozenset[str] | None]:
        """Listeners only when the first clusters are in force and warm (Envoy)."""
        wanted = self._store.subscriptions()
        if not self._were_warm and self._clusters_are_warm():
            self._were_warm = self._store.has_answer(CDS)
        elif not self._were_warm and LDS in wanted and self._warming():
            del wanted[LDS]
        return wanted

    def may_answer(self, type_url: str) -> bool:
        """Envoy acknowledges clusters when they are warm, so that routes to them may come; but the
        first ones at once, as listeners are not asked for yet. Secrets are acknowledged when they
        are in force: the mesh may drop what only they made superfluous."""
        if type_url == SDS:
            return not (self._applying_config() or self._handing_on)
        return type_url != CDS or not self._were_warm or self._clusters_are_warm()

    def refused(self) -> None:
        """Nobody says in TLS 1.3 what he has against a certificate before the stream is open."""
        session = self._session
        if self._identity is not None and session is not None and session.uses_own_certificate:
            self._identity.refused()

    def _clusters_are_warm(self) -> bool:
        return not self._store.awaits_endpoints() and not self._warming()

    def versions(self, type_url: str) -> Mapping[str, str]:
        return self._store.versions(type_url)

    async def take(self, update: Update) -> Mapping[str, str]:
        """Applies a response and publishes what came of it."""
        errors = await self._take(update)
        for name, why in errors.items():
            log.warning("refused %s %s: %s", short_name(update.type_url), name, why)
        if self._first_answers_are_here():
            self._from_last_good = False
        self._changed()
        self._tell_identity()
        if update.resources or self._saved != self._store.changes:
            self._saved = self._store.changes
            self._save_soon()
        if self._store.files():
            await self._files.follow()
        return errors

    async def _take(self, update: Update) -> dict[str, str]:
        self._applying = True
        try:
            return await self._intake.take(update)
        finally:
            self._applying = False

    async def _take_file(self, update: Update) -> None:
        """The contents of a file: as a response, but nobody is told what is wrong with it."""
        for name, why in (await self._take(update)).items():
            log.warning("refused %s %s: %s", short_name(update.type_url), name, why)

    async def _credentials(self, target: Target) -> ChannelTls | None:
        """Waits for our own certificate where the control plane wants one."""
        while target.tls is not None and target.tls.own_certificate:
            secret = self._identity.secret if self._identity is not None else None
            if secret is not None and secret.certificate is not None:
                return await self._current(own_certificate(target.tls, secret.certificate))
            self._have_identity.clear()
            await self._have_identity.wait()
        return await self._current(target.tls) if target.tls is not None else None

    async def _current(self, tls: ChannelTls) -> ChannelTls:
        """With the roots of now, not those of the start."""
        if self._identity is None or not self._identity.verifies_by(tls.roots_origin):
            return tls
        try:
            return replace(tls, roots=await self._identity.roots())
        except CertificateError as error:
            log.warning("the control plane is verified by the roots of the start: %s", error)
            return tls

    def _tell_identity(self, *, kept: bool = False) -> None:
        """Hands on what has come for itself."""
        if self._identity is None:
            return
        for name in sorted(self._identity.standing):
            secret = self._store.secret(name)
            if secret is not None and secret != self._told.get(name):
                self._told[name] = secret
                self._handing_on += 1
                spawn(self._follow(self._identity, secret, kept), f"follow {name}")

    async def _follow(self, identity: LocalIdentity, secret: Secret, kept: bool) -> None:
        """Whoever is believed no more is left."""
        try:
            changed = await identity.told(secret, kept=kept)
        finally:
            self._handing_on -= 1
            if self._session is not None:
                self._session.resubscribe()  # it is in force now, and is acknowledged
        if changed and self._session is not None:
            await asyncio.sleep(self._jitter() * identity.spread_s)
            self._session.reconnect()

    # ----------------------------------------------------------------- what changes it

    def warmed(self) -> None:
        """`warming` has come to an end."""
        if self._session is not None:
            self._session.resubscribe()

    def applied(self) -> None:
        """`applying` has come to an end."""
        self._publish()
        if self._session is None:
            return
        if self._renewed and self._session.uses_own_certificate:
            self._session.reconnect()
        self._renewed = False
        self._session.resubscribe()

    def _demanded(self) -> None:
        """Requests ask for something else than before."""
        assert self._demand is not None
        self._store.demand(self._demand.names)
        self._changed()

    def _follow_identity(self) -> None:
        if self._identity is None:
            return
        self._identity.listen(self._take_secret)
        if self._identity.secret is not None:
            self._store.set_local_secret(self._identity.secret, time.monotonic())

    def _take_secret(self, secret: Secret) -> None:
        self._store.set_local_secret(secret, time.monotonic())
        self._have_identity.set()
        self._renewed = True
        self._changed()
        # The control plane is shown the new one when all others are, so that it knows.
        if not self._applying_config():
            self.applied()

    def _changed(self) -> None:
        self._store.advance(time.monotonic())
        self._time_changed.set()
        if self._session is not None:
            self._session.resubscribe()
        self._publish()

    async def _keep_time(self) -> None:
        """Wakes when a wait has its end: the grace of the last good, a first answer overdue."""
        while True:
            ends = (self._store.next_deadline(), self._hold_until_s)
            left = [end - time.monotonic() for end in ends if end is not None]
            self._time_changed.clear()
            try:
                timeout_s = max(0.0, min(left)) if left else None
                await asyncio.wait_for(self._time_changed.wait(), timeout_s)
            except TimeoutError:
                self._changed()

    def _publish(self) -> None:
        """Hands a snapshot on if anything is new and nothing is half done; answers alone where all
        else is in force already."""
        if self._applying or self._holding():
            return
        if self._published == self._store.changes:
            self._answer()
            return
        self._published, self._answered = self._store.changes, self._store.answer_changes
        self._on_snapshot(self._store.snapshot())

    def _answer(self) -> None:
        """What is asked for and not there changes nothing that is in force."""
        if self._demand is None or self._answered == self._store.answer_changes:
            return
        if not self._applying_config():
            self._answered = self._store.answer_changes
            self._demand.answer(self._store.answers())

    def _holding(self) -> bool:
        if self._hold_until_s is None:
            return False
        if self._first_answers_are_here() or time.monotonic() >= self._hold_until_s:
            self._hold_until_s = None
        return self._hold_until_s is not None

    def _first_answers_are_here(self) -> bool:
        wanted = ((CDS, self._bootstrap.cds_ads), (LDS, self._bootstrap.lds_ads))
        return all(self._store.has_answer(kind) for kind, on in wanted if on)

    # ----------------------------------------------------------------- the disk

    def _raws(self) -> tuple[Raw, ...]:
        return tuple(raw for kind in (*PUSH_ORDER, VHDS) for raw in self._store.raws(kind))

    async def _restore(self) -> None:
        if self._state_dir is None:
            return
        found = await asyncio.to_thread(persist.load, self._state_dir, self._bootstrap.node.id)
        if found.problem:
            log.warning("last good configuration not used: %s", found.problem)
        if not found.resources:
            return
        self._hold_until_s = time.monotonic() + self._last_good_grace_s
        if self._demand is not None:
            hosts = (one for one in found.resources if one.type_url == VHDS)
            self._demand.adopt((VHDS, name) for one in hosts for name in one.aliases)
            self._store.demand(self._demand.names)
        count, errors = await self._intake.restore(found.resources)
        self._from_last_good = True
        if self._demand is not None and (names := self._store.handed_to()):
            self._demand.adopt((LDS, name) for name in names)
            self._store.demand(self._demand.names)
        self._tell_identity(kept=True)  # what has not changed since is not pushed again
        for name, why in errors.items():
            log.warning("last good %s not used: %s", name, why)
        log.info("last good configuration read: %d resources", count)

    def _save_soon(self) -> None:
        if self._state_dir is not None and not self._save_pending:
            self._save_pending = True
            spawn(self._save_later(), "save last good configuration")

    async def _save_later(self) -> None:
        await asyncio.sleep(_SAVE_DELAY_S)
        self._save_pending = False
        await asyncio.to_thread(self._save, self._raws())

    def _save(self, raws: tuple[Raw, ...]) -> None:
        assert self._state_dir is not None
        try:
            persist.save(self._state_dir, self._bootstrap.node.id, raws)
        except OSError as error:
            log.error("last good configuration not saved: %s", error)


def _machine(bootstrap: Bootstrap, version: str) -> Machine:
    assert bootstrap.ads is not None
    node = node_message(bootstrap.node, version)
    node.client_features.append(COUNTS_CONNECTIONS)
    first_only = bootstrap.ads.set_node_on_first_message_only
    if bootstrap.ads.delta:
        node.client_features.append(ASKS_FOR_LISTENERS)
        return DeltaMachine(node, first_only)
    return SotwMachine(node, first_only)


async def _pause() -> None:
    await asyncio.sleep(0)


async def _aside(type_url: str, body: bytes) -> Resource:
    """Decodes a large resource in a thread, which gives the loop its turn every half millisecond
    instead of CPython's 5 ms."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        return await asyncio.to_thread(decode, type_url, body)
    finally:
        sys.setswitchinterval(usual_s)
