"""A rotation from one authority to the next: what each step waits for, and what may go wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from certs import steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.rotation import Phase
from certs.store import is_encrypted, load_store, open_store
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.ca.revocations import Revocations
from controlplane.ca.sds import SdsSecrets
from controlplane.rotation import conductor as module
from controlplane.rotation import metrics
from controlplane.rotation.conductor import Conductor
from controlplane.rotation.progress import Progress
from controlplane.rotation.roster import ROSTER_FILE, Roster
from controlplane.tasks import spawn
from tests.support.meshed import Meshed
from tests.support.wait import eventually_async

NOW = 1_800_000_000.0
TTL_S = 600.0


class Plane:
    """A control plane without a network: its proxies see what is published at once."""

    def __init__(self, state_dir: Path, passphrase: bytes | None = None) -> None:
        self.state_dir = state_dir
        stored = open_store(state_dir, "cluster.local", NOW, passphrase)
        self.authority = LiveAuthority(stored)
        keys = EnvoySecrets(self.authority, TTL_S)
        self.sds = SdsSecrets(self.authority, keys, lambda: NOW)
        self.roster = Roster(state_dir / ROSTER_FILE, lambda: NOW)
        progress = Progress(self.roster, self.authority, keys, self.sds.root_version)
        self.proxies: list[Meshed] = []
        self.conductor = Conductor(
            state_dir,
            self.authority,
            progress,
            self.publish,
            lambda: NOW,
            settle_s=0.0,
            look_every_s=0.001,
            passphrase=passphrase,
        )

    def publish(self) -> None:
        for proxy in self.proxies:
            proxy.look()

    def join(self, name: str, **how: bool) -> Meshed:
        names = ("ROOTCA",) if how.get("weft_agent", True) else ("ROOTCA", "default")
        old = self.authority.authority if how.get("weft_agent", True) else None
        proxy = Meshed(name, self.sds, self.roster, names=names, leaf_of=old, now=NOW, **how)
        self.proxies.append(proxy)
        return proxy

    def stage(self) -> str:
        new = Authority.create("cluster.local", NOW)
        return steps.stage(self.state_dir, NOW, new).state.target

    async def waits_for(self, need: str, *states: str) -> None:
        """`states`: of the proxies, in the order of their names."""

        def reached() -> bool:
            status = self.conductor.status()
            return status.waiting_for == need and [p.state for p in status.proxies] == list(states)

        await eventually_async(reached, what=f"{need} {states}: {self.conductor.status()}")

    async def is_over(self) -> None:
        await eventually_async(lambda: self.conductor.status().over, what="the end")

    async def stays(self, phase: Phase) -> None:
        """Looks often enough for a step that should not be taken."""
        for _ in range(20):
            await asyncio.sleep(0.002)
            assert self.conductor.status().phase is phase


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    made = Plane(tmp_path)
    yield made
    if made.conductor._driving is not None:
        made.conductor._driving.cancel()
        await asyncio.gather(made.conductor._driving, return_exceptions=True)


async def test_keys_at_rest_stay_encrypted(tmp_path: Path) -> None:
    plane = Plane(tmp_path, b"some words")
    new = Authority.create("cluster.local", NOW)
    await plane.conductor.begin(new)
    await plane.is_over()
    assert load_store(tmp_path, NOW, b"some words").authority.id == new.id
    assert is_encrypted(tmp_path)
    await plane.conductor.relist(new.crl({}, NOW), "a list")
    assert len(plane.authority.authority.lists) == 1


async def test_each_step_waits_for_every_proxy(plane: Plane) -> None:
    old = plane.authority.authority
    slow = plane.join("a-weft", acknowledges=False)
    slow.answer()
    envoy = plane.join("b-envoy", weft_agent=False, acknowledges=False)
    envoy.answer()
    target = plane.stage()
    assert plane.conductor.status().phase is Phase.STEADY  # nobody has told it
    await plane.conductor.go(target)
    await plane.waits_for("trust", "waiting", "waiting")
    slow.answer()
    await plane.waits_for("trust", "done", "waiting")
    await plane.stays(Phase.PREPARED)
    assert plane.authority.authority.id == old.id
    assert len(plane.authority.bundle.roots) == 2
    envoy.answer()
    await plane.waits_for("certificates", "waiting", "waiting")
    new = plane.authority.authority
    assert new.id == target
    slow.renew(new)
    await plane.waits_for("certificates", "done", "waiting")
    await plane.stays(Phase.ISSUING)
    envoy.answer()
    await plane.waits_for("distrust", "waiting", "waiting")
    assert plane.authority.bundle.roots == new.bundle.roots
    slow.answer()
    envoy.answer()
    await plane.is_over()
    assert load_store(plane.state_dir, NOW).authority.id == target


async def test_who_is_away_or_refuses_is_named_and_waited_for(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    away = plane.join("a-away")
    stubborn = plane.join("b-stubborn", acknowledges=False)
    stubborn.answer()
    away.go()
    plane.proxies.remove(away)
    target = plane.stage()
    with caplog.at_level(logging.WARNING):
        await plane.conductor.go(target)
        stubborn.answer("no room for another root")
        await plane.waits_for("trust", "refused", "away")
        await plane.stays(Phase.PREPARED)
    assert away.id in caplog.text
    assert plane.conductor.status().proxies[0].detail == "no room for another root"
    # Told to go on without them, it does.
    await plane.conductor.go(target, frozenset({"*", stubborn.id}))
    await plane.is_over()


async def test_who_is_away_comes_back_and_the_step_is_taken(plane: Plane) -> None:
    proxy = plane.join("a")
    proxy.go()
    plane.proxies.clear()
    await plane.conductor.go(plane.stage())
    await plane.waits_for("trust", "away")
    back = plane.join("a")
    await plane.waits_for("certificates", "waiting")
    back.renew(plane.authority.authority)
    await plane.is_over()


async def test_a_stream_by_token_shows_no_certificate(plane: Plane) -> None:
    proxy = plane.join("a")
    proxy.connection.leaf = None
    await plane.conductor.go(plane.stage())
    await plane.waits_for("certificates", "waiting")
    assert "by token" in plane.conductor.status().proxies[0].detail


async def test_who_verifies_nobody_holds_nothing_up(plane: Plane) -> None:
    plane.proxies.append(Meshed("a", plane.sds, plane.roster, weft_agent=False, names=(), now=NOW))
    await plane.conductor.go(plane.stage())
    await plane.is_over()


async def test_a_weft_proxy_that_has_not_asked_for_trust_yet_is_waited_for(plane: Plane) -> None:
    plane.proxies.append(Meshed("a", plane.sds, plane.roster, names=(), now=NOW))
    await plane.conductor.go(plane.stage())
    await plane.waits_for("trust", "waiting")


async def test_abort_before_it_issues_forgets_the_new_one(plane: Plane) -> None:
    old = plane.authority.authority.id
    plane.join("a").acknowledges = False
    target = plane.stage()
    await plane.conductor.go(target)
    await plane.waits_for("trust", "waiting")
    await plane.conductor.abort(target)
    assert (plane.authority.stored.state.phase, plane.authority.authority.id) == (
        Phase.STEADY,
        old,
    )
    plane.proxies[0].answer()
    await plane.is_over()


async def test_abort_after_it_issues_goes_back_step_by_step(plane: Plane) -> None:
    old = plane.authority.authority
    proxy = plane.join("a")
    target = plane.stage()
    await plane.conductor.go(target)
    await plane.waits_for("certificates", "waiting")
    proxy.renew(plane.authority.authority)
    await plane.conductor.abort(target)
    await plane.waits_for("certificates", "waiting")
    assert plane.authority.authority.id == old.id
    proxy.renew(old)
    await plane.is_over()
    assert plane.authority.bundle.roots == old.bundle.roots


async def test_it_goes_on_after_a_restart(plane: Plane) -> None:
    proxy = plane.join("a", acknowledges=False)
    proxy.answer()
    target = plane.stage()
    await plane.conductor.go(target)
    await plane.waits_for("trust", "waiting")
    second = Plane(plane.state_dir)
    assert second.authority.stored.state.phase is Phase.PREPARED
    joined = second.join("a")
    second.conductor.resume()
    await second.waits_for("certificates", "waiting")
    joined.renew(second.authority.authority)
    await second.is_over()


async def test_another_target_is_refused(plane: Plane) -> None:
    with pytest.raises(CertificateError, match="is not staged"):
        await plane.conductor.go("0" * 32)
    with pytest.raises(CertificateError):
        await plane.conductor.abort(plane.authority.authority.id)


async def test_begin_stages_and_goes(plane: Plane) -> None:
    new = Authority.create("cluster.local", NOW)
    await plane.conductor.begin(new)
    await plane.is_over()
    assert plane.authority.authority.id == new.id


async def test_a_disk_that_fails_is_told_and_tried_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    proxy = plane.join("a", acknowledges=False)
    proxy.answer()
    await plane.conductor.go(plane.stage())
    await plane.waits_for("trust", "waiting")
    state = plane.state_dir / "ca" / "state.json"
    kept = state.read_bytes()
    state.write_bytes(b"spoiled")
    proxy.answer()
    await eventually_async(lambda: "corrupt" in plane.conductor.status().problem, what="told")
    state.write_bytes(kept)
    await plane.waits_for("certificates", "waiting")
    assert plane.conductor.status().problem == ""


async def test_whoever_watches_hears_of_each_step(plane: Plane) -> None:
    proxy = plane.join("a", acknowledges=False)
    proxy.answer()
    heard: list[str] = []

    async def watch() -> None:
        while not (status := plane.conductor.status()).over or not heard:
            heard.append(status.waiting_for)
            await plane.conductor.changed()

    await plane.conductor.go(plane.stage())
    watching = spawn(watch(), "a watcher")
    await plane.waits_for("trust", "waiting")
    proxy.answer()
    await plane.waits_for("certificates", "waiting")
    proxy.renew(plane.authority.authority)
    await plane.waits_for("distrust", "waiting")
    proxy.answer()
    await watching
    assert list(dict.fromkeys(filter(None, heard))) == ["trust", "certificates", "distrust"]


async def test_prometheus_sees_it(plane: Plane) -> None:
    registry = CollectorRegistry()
    revocations = Revocations(plane.state_dir, plane.authority, lambda: NOW)
    metrics.register(registry, plane.authority, plane.conductor, revocations)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    end = plane.authority.authority.not_after
    assert value("citadel_server_root_cert_expiry_timestamp") == end
    assert value("citadel_server_cert_chain_expiry_timestamp") == end
    assert value("weft_ca_rotation_phase", phase="steady") == 1
    assert value("weft_ca_rotation_waiting_proxies") == 0
    revocations.revoke("abc", "")
    assert value("weft_ca_revocations") == 1
    proxy = plane.join("a", acknowledges=False)
    proxy.answer()
    await plane.conductor.go(plane.stage())
    await plane.waits_for("trust", "waiting")
    assert value("weft_ca_rotation_phase", phase="steady") == 0
    assert value("weft_ca_rotation_phase", phase="prepared") == 1
    assert value("weft_ca_rotation_waiting_proxies") == 1
