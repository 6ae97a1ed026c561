"""Several replicas rotate one authority: who leads, who is waited for, and who may go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from certs import sealed_box, steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.rotation import Phase
from certs.store import load_store, open_store
from controlplane.ca.live import LiveAuthority
from controlplane.ca.sds import SdsSecrets
from controlplane.replicas import Replicas
from controlplane.rotation.conductor import Conductor
from controlplane.rotation.others import Others
from controlplane.rotation.progress import Progress
from controlplane.rotation.roster import ROSTER_FILE, Roster
from controlplane.rotation.together import LEAD, Ours, Together
from controlplane.tasks import spawn
from tests.support.meshed import Meshed
from tests.support.shared_store import Room
from tests.support.wait import eventually_async

NOW = 1_800_000_000.0
SECRET = b"open sesame"


class Replica:
    """One control plane without a network, as tests/controlplane/rotation/test_conductor has it.
    behind_s: by so much its clock is."""

    def __init__(self, room: Room, state_dir: Path, behind_s: float = 0.0) -> None:
        self.room, self.state_dir = room, state_dir
        self.now = NOW - behind_s
        self.proxies: list[Meshed] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        self.store = self.room.member()
        replicas = self.replicas = Replicas(self.store, self.state_dir, SECRET)
        await replicas.settle(lambda folder: open_store(folder, "cluster.local", NOW, SECRET))
        self.authority = LiveAuthority(load_store(self.state_dir, NOW, SECRET))
        self.sds = SdsSecrets(self.authority, None, lambda: self.now)
        self.roster = Roster(self.state_dir / ROSTER_FILE, lambda: self.now)
        progress = Progress(self.roster, self.authority, None, self.sds.root_version)
        shared = (self.store, replicas.sealed, replicas.authority, self.authority)
        others = Others(self.store, replicas.sealed, replicas.id)
        ours = Ours(replicas.id, self.roster, progress)
        self.together = Together(*shared, ours, others, lambda: self.now, tell_every_s=0.005)
        self.conductor = Conductor(
            *(self.state_dir, self.authority, progress, self.publish, lambda: self.now),
            settle_s=0.0,
            look_every_s=0.005,
            passphrase=SECRET,
            company=self.together,
        )
        replicas.authority.follow(self.authority, self.publish)
        await self.store.open()
        await replicas.announce(f"{self.state_dir.name}:15010")
        self.tasks = [spawn(self.together.run(), "telling")]
        self.conductor.resume()

    async def dies(self) -> None:
        """Without a word: what hangs on its lease goes, later."""
        for task in (*self.tasks, self.conductor._driving):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self.store.close()

    async def lease_ends(self) -> None:
        me = self.replicas.id
        await self.room.member().commit({f"replicas/{me}": None, f"reports/{me}": None})
        if self.together._leads:
            await self.room.member().commit({LEAD: None})

    def publish(self) -> None:
        for proxy in self.proxies:
            proxy.look()

    def join(self, name: str) -> Meshed:
        issuer = self.authority.authority
        proxy = Meshed(name, self.sds, self.roster, leaf_of=issuer, now=self.now)
        self.proxies.append(proxy)
        return proxy

    def stage(self) -> str:
        """As `weft ca rotate` does it, in a process of its own."""
        new = Authority.create("cluster.local", NOW)
        return steps.stage(self.state_dir, self.now, new, SECRET).state.target

    def renew(self) -> None:
        for proxy in self.proxies:
            proxy.renew(self.authority.authority)

    def phase(self) -> Phase:
        return self.authority.stored.state.phase

    def says(self) -> dict[str, str]:
        """What it says of the proxies, by their names."""
        found = self.conductor.status().proxies
        return {
            one.node_id.split("~")[-2].split(".")[0]: one.state for one in found if one.identity
        }

    async def waits(self, need: str, **states: str) -> None:
        def reached() -> bool:
            return self.conductor.status().waiting_for == need and self.says() == states

        await eventually_async(reached, what=f"{need} {states}: {self.conductor.status()}")

    async def is_over(self) -> None:
        await eventually_async(lambda: self.conductor.status().over, what="the end")


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing is no concern here."""
    monkeypatch.setattr(sealed_box, "_COST", 1 << 4)


Make = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Make]:
    room, made = Room(), list[Replica]()

    async def make(name: str, behind_s: float = 0.0) -> Replica:
        one = Replica(room, tmp_path / name, behind_s)
        made.append(one)
        await one.serve()
        return one

    yield make
    for one in made:
        await one.dies()


async def told_of(at: Replica, *names: str) -> None:
    """Until it is told of these proxies of another replica."""

    def known() -> bool:
        found = {key[0].split("~")[-2].split(".")[0] for key in at.together._others.connected()}
        return found >= set(names)

    await eventually_async(known, what=f"{names} are known")


async def test_each_step_waits_for_the_proxies_of_all(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    a, b = one.join("a"), two.join("b")
    b.acknowledges = False
    target = one.stage()
    await one.conductor.go(target)
    for each in (one, two):  # progress is the same for all
        await each.waits("trust", a="done", b="waiting")
    assert (one.phase(), two.phase()) == (Phase.PREPARED, Phase.PREPARED)
    b.answer()
    b.acknowledges = True
    for each in (one, two):
        await each.waits("certificates", a="waiting", b="waiting")
    a.renew(one.authority.authority)
    for each in (one, two):
        await each.waits("certificates", a="done", b="waiting")
    b.renew(two.authority.authority)
    for each in (one, two):
        await each.is_over()
        assert each.authority.authority.id == target
        assert len(each.authority.bundle.roots) == 1
    await eventually_async(lambda: LEAD not in one.room.values, what="nobody leads any more")
    await eventually_async(lambda: not any("reports/" in name for name in one.room.values))


@pytest.mark.parametrize("forged", ["words", "an older one"])
async def test_who_may_only_write_to_the_store_holds_no_rotation_up(
    replica: Make, forged: str
) -> None:
    one = await replica("one")
    value = b"somebody"
    if forged != "words":
        value = one.replicas.sealed.seal(LEAD, b"a replica of former days")
        sealed = one.replicas.sealed
        sealed.open(LEAD, value)
        sealed.open(LEAD, sealed.seal(LEAD, b"a later one"))
    await one.room.member().commit({LEAD: value})
    a = one.join("a")
    a.acknowledges = True
    target = one.stage()
    await one.conductor.go(target)
    await one.waits("certificates", a="waiting")
    assert one.room.values.get(LEAD) not in (None, value)
    a.renew(one.authority.authority)
    await one.is_over()
    await eventually_async(lambda: LEAD not in one.room.values, what="nobody leads any more")


async def test_any_replica_may_be_asked_whatever_its_clock_says(replica: Make) -> None:
    one, two = await replica("one"), await replica("two", behind_s=60.0)
    one.join("a")
    two.join("b")
    for asked in (two, one):
        target = asked.stage()
        await asked.conductor.go(target)
        await two.waits("certificates", a="waiting", b="waiting")
        one.renew()
        two.renew()
        for each in (one, two):
            await each.is_over()
            assert each.authority.authority.id == target


async def test_the_leader_dies_and_another_goes_on(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    one.join("a")
    b = two.join("b")
    target = one.stage()
    await one.conductor.go(target)
    await two.waits("certificates", a="waiting", b="waiting")
    await told_of(two, "a")
    await one.dies()
    await one.lease_ends()
    b.renew(two.authority.authority)
    await two.waits("certificates", a="away", b="done")  # it may still be served from there
    assert two.phase() is Phase.ISSUING
    two.join("a")
    await two.is_over()
    assert two.authority.authority.id == target
    await one.serve()
    assert one.authority.stored.state == two.authority.stored.state


async def test_one_that_is_cut_off_is_waited_for_and_comes_back(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    one.join("a")
    b = two.join("b")
    await told_of(one, "b")
    await two.dies()
    await two.lease_ends()
    target = one.stage()
    await one.conductor.go(target)
    await one.waits("trust", a="done", b="away")
    assert one.phase() is Phase.PREPARED
    b.go()
    await two.serve()
    two.proxies.clear()
    assert two.phase() is Phase.PREPARED
    two.join("b")
    await one.waits("certificates", a="waiting", b="waiting")
    one.renew()
    two.renew()
    await two.is_over()


async def test_nobody_waits_for_those_who_are_named(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    one.join("a")
    b = two.join("b")
    b.acknowledges = False
    target = one.stage()
    await one.conductor.go(target)
    await two.waits("trust", a="done", b="waiting")
    await two.conductor.go(target, frozenset({b.id}))
    for each in (one, two):
        await each.waits("certificates", a="waiting", b="skipped")
    one.renew()
    await two.is_over()


async def test_while_the_store_is_away_no_step_is_taken(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    a = one.join("a")
    b = two.join("b")
    b.acknowledges = False
    target = one.stage()
    await one.conductor.go(target)
    await one.waits("trust", a="done", b="waiting")
    one.room.away = "it is down"
    b.answer()
    b.acknowledges = True
    await eventually_async(lambda: "is away" in one.conductor.status().problem)
    assert (one.phase(), two.phase()) == (Phase.PREPARED, Phase.PREPARED)
    with pytest.raises(OSError, match="it is down"):
        await one.conductor.abort(target)
    one.room.away = ""
    await one.waits("certificates", a="waiting", b="waiting")
    a.renew(one.authority.authority)
    two.renew()
    await two.is_over()


async def test_it_is_given_up_at_any_replica(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    one.join("a").acknowledges = False
    old = one.authority.authority.id
    target = one.stage()
    await one.conductor.go(target)
    await two.waits("trust", a="waiting")
    await two.conductor.abort(target)
    await eventually_async(lambda: one.phase() is Phase.STEADY)
    assert one.authority.authority.id == two.authority.authority.id == old
    with pytest.raises(CertificateError, match="is not staged"):
        await one.conductor.go(target)


async def test_new_lists_are_known_to_all_and_old_ones_are_not_taken(replica: Make) -> None:
    one, two = await replica("one"), await replica("two")
    authority = one.authority.authority
    await one.conductor.relist(authority.crl({1: NOW}, NOW), "a list")
    await eventually_async(lambda: two.authority.authority.lists, what="the list")
    former, older = two.authority.authority.lists, one.room.values["authority"]
    await one.conductor.relist(authority.crl({2: NOW}, NOW + 60), "a list")
    await eventually_async(lambda: two.authority.authority.lists != former, what="the newer list")
    newer = two.authority.authority.lists
    await one.room.member().commit({"authority": older})
    await eventually_async(lambda: one.room.values["authority"] != older, what="it is put back")
    assert one.authority.authority.lists == two.authority.authority.lists == newer


async def test_whoever_may_only_write_to_the_store_hides_no_proxy(
    replica: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await replica("one"), await replica("two")
    two.join("b").acknowledges = False
    await told_of(one, "b")
    await one.conductor.go(one.stage())
    await one.waits("trust", b="waiting")
    report = f"reports/{two.replicas.id}"
    await one.room.member().commit({report: b"nobody"})
    await one.room.member().commit({name: b"" for name in one.room.values if "members/" in name})
    await eventually_async(lambda: "does not count" in caplog.text)
    for _ in range(20):
        await asyncio.sleep(0.005)
        assert one.phase() is Phase.PREPARED
