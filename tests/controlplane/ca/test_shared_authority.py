"""One authority for all replicas: who takes whose, who is refused, and what is told when."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certs import sealed_box, steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.rotation import Phase
from certs.sealed_box import SealedBox
from certs.store import StoredAuthority, load_store, open_store
from controlplane.ca import shared_authority
from controlplane.ca.live import LiveAuthority
from controlplane.ca.shared_authority import SharedAuthority
from controlplane.errors import StartError
from controlplane.sources.store.values import StoreAway
from tests.support.shared_store import Room
from tests.support.wait import eventually_async

NOW = 1_800_000_000.0
SECRET = b"open sesame"


class Replica:
    def __init__(self, room: Room, state_dir: Path, passphrase: bytes = SECRET) -> None:
        self.state_dir = state_dir
        self.passphrase = passphrase
        self.store = room.member()
        self.shared = SharedAuthority(self.store, SealedBox(passphrase), state_dir, passphrase)
        self.changes = 0
        self.live: LiveAuthority | None = None

    def make(self, folder: Path) -> StoredAuthority:
        return open_store(folder, "td", NOW, self.passphrase)

    async def settle(self) -> StoredAuthority:
        await self.shared.settle(self.make)
        return load_store(self.state_dir, NOW, self.passphrase)

    async def serve(self) -> LiveAuthority:
        self.live = LiveAuthority(await self.settle())
        self.shared.follow(self.live, self._changed)
        await self.store.open()
        return self.live

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing is no concern here."""
    monkeypatch.setattr(sealed_box, "_COST", 1 << 4)


@pytest.fixture
def room() -> Room:
    return Room()


async def test_the_first_makes_it_and_the_others_take_it(room: Room, tmp_path: Path) -> None:
    first = await Replica(room, tmp_path / "one").settle()
    second = await Replica(room, tmp_path / "two").settle()
    assert first.state == second.state
    assert first.authority.certificate == second.authority.certificate
    assert first.bundle == second.bundle
    tokens = [(tmp_path / name / "admin.token").read_bytes() for name in ("one", "two")]
    assert tokens[0] == tokens[1]
    assert tokens[0].strip() not in room.values["authority"]
    again = await Replica(room, tmp_path / "two").settle()
    assert again.state == second.state


async def test_one_that_had_an_authority_brings_it(room: Room, tmp_path: Path) -> None:
    own = open_store(tmp_path / "one", "td", NOW, SECRET)
    assert (await Replica(room, tmp_path / "one").settle()).state == own.state
    assert (await Replica(room, tmp_path / "two").settle()).state == own.state


async def test_another_authority_is_refused_and_left_alone(room: Room, tmp_path: Path) -> None:
    await Replica(room, tmp_path / "one").settle()
    own = open_store(tmp_path / "two", "td", NOW, SECRET)
    with pytest.raises(CertificateError, match="use another --state-dir, or another prefix"):
        await Replica(room, tmp_path / "two").settle()
    assert load_store(tmp_path / "two", NOW, SECRET).state == own.state


async def test_another_passphrase_is_told(room: Room, tmp_path: Path) -> None:
    await Replica(room, tmp_path / "one").settle()
    with pytest.raises(CertificateError, match="all replicas have the same passphrase"):
        await Replica(room, tmp_path / "two", b"open barley").settle()
    assert not (tmp_path / "two" / "ca").exists()


def rotated(state_dir: Path) -> StoredAuthority:
    """Led to another authority, while nobody serves."""
    new = Authority.create("td", NOW)
    steps.stage(state_dir, NOW + 1, new, SECRET)
    steps.prepare(state_dir, new.id, NOW + 2, SECRET)
    steps.issue(state_dir, new.id, NOW + 3, SECRET)
    return steps.retire(state_dir, new.id, NOW + 4, acknowledged=True, passphrase=SECRET)


async def test_who_has_led_it_on_tells_the_others_and_who_was_away_follows(
    room: Room, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        await Replica(room, tmp_path / name).settle()
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    after = rotated(tmp_path / "one")
    assert (await Replica(room, tmp_path / "one").settle()).state == after.state
    assert (await Replica(room, tmp_path / "two").settle()).state == after.state
    assert (await Replica(room, tmp_path / "three").settle()).bundle == after.bundle
    root = (tmp_path / "three" / "root.pem").read_bytes()
    assert root == (tmp_path / "one" / "root.pem").read_bytes()


async def test_a_step_is_taken_by_those_who_serve(room: Room, tmp_path: Path) -> None:
    one, two = Replica(room, tmp_path / "one"), Replica(room, tmp_path / "two")
    here, there = await one.serve(), await two.serve()
    new = Authority.create("td", NOW)
    here.swap(steps.stage(one.state_dir, NOW, new, SECRET))
    await eventually_async(lambda: there.stored.state.phase is Phase.STAGED, 60)
    here.swap(steps.prepare(one.state_dir, new.id, NOW, SECRET))
    await eventually_async(lambda: there.stored.state.phase is Phase.PREPARED, 60)
    assert there.bundle == here.bundle
    assert (one.changes, two.changes) == (0, 2)
    assert load_store(two.state_dir, NOW, SECRET).state == here.stored.state


def stage(folder: Path) -> StoredAuthority:
    return steps.stage(folder, NOW + 1, Authority.create("td", NOW), SECRET)


async def test_a_step_is_made_in_the_store_first(room: Room, tmp_path: Path) -> None:
    one, two = Replica(room, tmp_path / "one"), Replica(room, tmp_path / "two")
    here, there = await one.serve(), await two.serve()
    room.away = "the store is away"
    with pytest.raises(StoreAway, match="the store is away"):
        await one.shared.step(stage)
    assert load_store(one.state_dir, NOW, SECRET).state == here.stored.state
    room.away = ""
    after = await one.shared.step(stage)
    assert after.state.phase is Phase.STAGED
    await eventually_async(lambda: there.stored.state == after.state, 60)
    with pytest.raises(CertificateError, match="finish it or abort it"):
        await two.shared.step(stage)
    again = await one.shared.step(lambda folder: load_store(folder, NOW, SECRET))
    assert again.state == after.state


async def test_of_two_steps_at_the_same_time_one_is_refused(room: Room, tmp_path: Path) -> None:
    one, two = Replica(room, tmp_path / "one"), Replica(room, tmp_path / "two")
    await one.serve()
    await two.serve()
    await two.store.close()  # it is not told for a while
    await one.shared.step(stage)
    with pytest.raises(CertificateError, match="at the same time: try again"):
        await two.shared.step(stage)
    assert load_store(two.state_dir, NOW, SECRET).state.phase is Phase.STEADY


async def test_a_step_has_conditions(room: Room, tmp_path: Path) -> None:
    one = Replica(room, tmp_path / "one")
    await one.serve()
    with pytest.raises(CertificateError, match="at the same time"):
        await one.shared.step(stage, {"rotation/lead": b"one"})
    await one.store.commit({"rotation/lead": b"one"})
    assert (await one.shared.step(stage, {"rotation/lead": b"one"})).state.target


async def test_a_store_that_is_away_ends_a_first_start(room: Room, tmp_path: Path) -> None:
    room.away = "the store is away"
    with pytest.raises(StartError, match="the store is away"):
        await Replica(room, tmp_path / "one").settle()
    assert not (tmp_path / "one" / "ca").exists()
    assert issubclass(StoreAway, OSError)  # as those take it who write files otherwise


async def test_who_was_not_told_what_it_wrote_still_tells_the_next_step(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store took it, and the answer that says so was lost."""
    monkeypatch.setattr(shared_authority, "RETRY_S", 0.01)
    one, two = Replica(room, tmp_path / "one"), Replica(room, tmp_path / "two")
    here, there = await one.serve(), await two.serve()
    one.store.lose_answers = 1
    new = Authority.create("td", NOW)
    here.swap(steps.stage(one.state_dir, NOW + 1, new, SECRET))
    await eventually_async(lambda: there.stored.state.phase is Phase.STAGED, 60)
    here.swap(steps.prepare(one.state_dir, new.id, NOW + 2, SECRET))
    await eventually_async(lambda: there.stored.state.phase is Phase.PREPARED, 60)
    assert here.stored.state == there.stored.state


async def test_two_that_lead_on_at_the_same_time_end_with_one(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_authority, "RETRY_S", 0.01)
    one, two = Replica(room, tmp_path / "one"), Replica(room, tmp_path / "two")
    here, there = await one.serve(), await two.serve()
    here.swap(steps.stage(one.state_dir, NOW + 1, Authority.create("td", NOW), SECRET))
    there.swap(steps.stage(two.state_dir, NOW + 2, Authority.create("td", NOW), SECRET))
    await eventually_async(lambda: here.stored.state == there.stored.state, 60)
    assert here.stored.state.phase is Phase.STAGED
    assert load_store(one.state_dir, NOW, SECRET).state == here.stored.state
    assert load_store(two.state_dir, NOW, SECRET).state == here.stored.state


async def test_an_older_one_and_that_of_another_mesh_are_not_taken(
    room: Room, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write to the store can put back what was sealed before, or sealed elsewhere."""
    foreign = Room()
    one, elsewhere = Replica(room, tmp_path / "one"), Replica(foreign, tmp_path / "other")
    here = await one.serve()
    old = room.values["authority"]
    await elsewhere.settle()
    here.swap(steps.stage(one.state_dir, NOW + 1, Authority.create("td", NOW), SECRET))
    await eventually_async(lambda: room.values["authority"] != old, 60)
    told = room.values["authority"]
    intruder = room.member()
    await intruder.commit({"authority": old})
    await eventually_async(lambda: room.values["authority"] not in (old, told), 60)
    assert here.stored.state.phase is Phase.STAGED
    issuing = here.stored.state.issuing
    await intruder.commit({"authority": foreign.values["authority"]})
    await eventually_async(lambda: "is not taken" in caplog.text, 60)
    assert load_store(one.state_dir, NOW, SECRET).state.issuing == issuing
