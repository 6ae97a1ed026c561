"""A rotation leaves those who fetch our bundle the time to: they acknowledge nothing."""

from __future__ import annotations

from pathlib import Path

from certs import steps
from certs.authority import Authority
from certs.rotation import Phase
from certs.store import open_store
from controlplane.ca.live import LiveAuthority
from controlplane.ca.sds import SdsSecrets
from controlplane.rotation.conductor import Conductor
from controlplane.rotation.progress import Progress
from controlplane.rotation.roster import ROSTER_FILE, Roster
from tests.support.wait import eventually_async

NOW = 1_800_000_000.0


async def test_both_roots_are_trusted_for_a_while_before_the_new_one_signs(tmp_path: Path) -> None:
    now, looks = NOW, 0  # a step is a moment later than the one before it

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now

    live = LiveAuthority(open_store(tmp_path, "td", NOW))
    old, new = live.authority, Authority.create("td", NOW)
    sds = SdsSecrets(live, None, clock)
    progress = Progress(Roster(tmp_path / ROSTER_FILE, clock), live, None, sds.root_version)
    conductor = Conductor(
        tmp_path,
        live,
        progress,
        lambda: None,
        clock,
        hold_s=120.0,
        settle_s=0.0,
        look_every_s=0.001,
    )
    await conductor.begin(new)
    await eventually_async(lambda: "120 s left" in conductor.status().problem)
    now += 119
    await eventually_async(lambda: "1 s left" in conductor.status().problem)
    seen = looks
    await eventually_async(lambda: looks > seen + 5)
    assert (live.stored.state.phase, live.authority.id) == (Phase.PREPARED, old.id)
    assert set(live.bundle.roots) == {*old.bundle.roots, *new.bundle.roots}
    now += 1.1
    await eventually_async(lambda: conductor.status().over)
    assert (live.authority.id, conductor.status().problem) == (new.id, "")


async def test_another_replicas_step_is_followed_at_once(tmp_path: Path) -> None:
    live = LiveAuthority(open_store(tmp_path, "td", NOW))
    sds = SdsSecrets(live, None, lambda: NOW)
    roster = Roster(tmp_path / ROSTER_FILE, lambda: NOW)
    progress = Progress(roster, live, None, sds.root_version)
    conductor = Conductor(
        tmp_path,
        live,
        progress,
        lambda: None,
        lambda: NOW,
        hold_s=120.0,
        settle_s=0.0,
        look_every_s=0.001,
    )
    new = Authority.create("td", NOW)
    await conductor.begin(new)
    await eventually_async(lambda: "120 s left" in conductor.status().problem)
    live.swap(steps.issue(tmp_path, new.id, NOW))
    await eventually_async(lambda: conductor.status().over)
    assert (live.authority.id, conductor.status().problem) == (new.id, "")
