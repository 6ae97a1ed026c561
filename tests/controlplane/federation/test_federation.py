"""The bundles that are believed: followed over changes, failures and restarts of either side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from certs.authority import Authority
from certs.spiffe import SpiffeId
from certs.spiffe_bundle import SpiffeBundle
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.federation.federation import Federation
from controlplane.federation.metrics import FederationMetrics
from controlplane.federation.serve import BundleOptions, serve_bundle
from controlplane.federation.shelf import FOLDER, Shelf
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.model import Status
from tests.support.live import live, stored
from tests.support.wait import eventually_async

START = time.time()
FAR = Authority.create("far", START)
NEXT = Authority.create("far", START)
SERVER = SpiffeId.workload("far", "weft-system", "weft-controlplane")


class Watched:
    """A federation whose clock stands still unless it is turned."""

    def __init__(self, state_dir: Path) -> None:
        self.now = START
        self.changes = 0
        self.restated: list[tuple[Status, ...]] = []
        self.federation = Federation(
            Shelf(state_dir),
            self._changed,
            restate=lambda: self.restated.append(self.federation.statuses()),
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )
        self._task: asyncio.Task[None] | None = None

    def _changed(self) -> None:
        self.changes += 1

    @property
    def far(self) -> object:
        return self.federation.believed().get("far")

    async def attempt(self, later_s: float = 0.0) -> None:
        """Turns the clock, and waits for one answer more, good or bad."""
        followed = self.federation.followed["far"]
        before = (followed.got_at, followed.failures)
        self.now += later_s
        self.federation.configure([one.domain for one in self.federation.followed.values()])
        await eventually_async(
            lambda: (followed.got_at, followed.failures) != before, what="an answer"
        )


@asynccontextmanager
async def watched(state_dir: Path) -> AsyncIterator[Watched]:
    one = Watched(state_dir)
    task = asyncio.ensure_future(one.federation.run())  # noqa: TID251
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Peer:
    """The control plane of trust domain `far`, which may go away and come back."""

    def __init__(self) -> None:
        self.authority: LiveAuthority = live(FAR)
        self.port = 0
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        options = BundleOptions("127.0.0.1", self.port)
        serving = ServingCertificate(self.authority)
        self.port = await serve_bundle(options, self.authority, serving, self._stack)

    async def stop(self) -> None:
        await self._stack.aclose()

    def domain(self) -> ForeignDomain:
        first = SpiffeBundle(FAR.bundle.roots)
        url = f"https://127.0.0.1:{self.port}/"
        return ForeignDomain("far", url, SERVER, first, object="Kind a/b")


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    await made.start()
    yield made
    await made.stop()


async def test_roots_of_another_mesh_are_followed_through_its_rotation(
    peer: Peer, tmp_path: Path
) -> None:
    async with watched(tmp_path) as us:
        us.federation.configure([peer.domain()])
        assert us.far == FAR.bundle.roots
        assert us.changes == 1
        await us.attempt()
        assert us.changes == 1  # it is what was configured
        peer.authority.swap(stored(FAR, NEXT))
        await us.attempt(300)
        assert us.far == (*FAR.bundle.roots, *NEXT.bundle.roots)
        peer.authority.swap(stored(NEXT))
        await us.attempt(300)
        assert us.far == NEXT.bundle.roots
        assert us.changes == 3
    async with watched(tmp_path) as again:
        again.federation.configure([peer.domain()])
        assert again.far == NEXT.bundle.roots  # of the disk: the first bundle is of the past
        await again.attempt()
        assert again.federation.followed["far"].failures == 0


async def test_what_can_not_be_refreshed_stays_and_its_age_is_told(
    peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    async with watched(tmp_path) as us:
        FederationMetrics(registry, lambda: us.federation.followed, lambda: us.now)
        us.federation.configure([peer.domain()])
        await us.attempt()
        await peer.stop()
        await us.attempt(400)
        assert us.far == FAR.bundle.roots
        assert "can't be refreshed: the one of 400 s ago stays in force" in caplog.text
        await us.attempt(60)
        assert caplog.text.count("can't be refreshed") == 1  # not each time
        await us.attempt(600)
        assert "the one of 1060 s ago stays in force" in caplog.text
        assert sample(registry, "bundle_age_seconds") == 1060
        assert sample(registry, "refresh_failures") == 3
        assert sample(registry, "bundle_roots") == 1
        assert us.changes == 1
        ((late,),) = us.restated
        assert (late.code, late.severity, late.object) == ("BundleLate", "warning", "Kind a/b")
        assert "no bundle for 400 s, the last one stays in force" in late.message
        await peer.start()
        await us.attempt(60)
        assert us.restated[1:] == [()]
        assert "fresh again" in caplog.text
        assert sample(registry, "bundle_age_seconds") == 0
        assert sample(registry, "refresh_failures") == 0


def sample(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(f"weft_federation_{name}", {"trust_domain": "far"})


async def test_nothing_is_believed_before_the_first_bundle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path) as us:
        us.federation.configure([ForeignDomain("far", "https://127.0.0.1:1/")])
        await eventually_async(lambda: us.federation.followed["far"].failures)
        assert us.federation.believed() == {}
        assert "no bundle of trust domain far, so nobody of it is believed" in caplog.text
        unverified = ForeignDomain("far", "https://127.0.0.1:1/", SpiffeId("third", "/x"))
        us.federation.configure([unverified])
        await eventually_async(lambda: us.federation.followed["far"].failures == 2)
        assert "no bundle of trust domain third" in us.federation.followed["far"].error


async def test_who_is_federated_no_more_is_believed_no_more(peer: Peer, tmp_path: Path) -> None:
    async with watched(tmp_path) as us:
        us.federation.configure([peer.domain()])
        await us.attempt()
        us.federation.configure([])
        assert us.federation.believed() == {}
        assert us.changes == 2


async def test_an_endpoint_of_a_third_domain(peer: Peer, tmp_path: Path) -> None:
    """Another domain's control plane may serve a bundle: its own proves who it is."""
    async with watched(tmp_path) as us:
        served = replace(peer.domain(), trust_domain="sub.far", first_bundle=None)
        us.federation.configure([served, peer.domain()])
        await eventually_async(lambda: "sub.far" in us.federation.believed())
        assert us.federation.believed()["sub.far"] == FAR.bundle.roots


async def test_a_broken_file_is_no_bundle(
    peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    path = folder / "far.json"
    path.write_text("{")
    async with watched(tmp_path) as us:
        us.federation.configure([peer.domain()])
        assert us.far == FAR.bundle.roots
        assert f"{path} is left aside" in caplog.text
        await us.attempt()
    assert Shelf(tmp_path).get("far") is not None


async def test_a_full_disk_takes_no_bundle_away(
    peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    async with watched(tmp_path) as us:
        us.federation.configure([peer.domain()])
        await us.attempt()
        assert us.far == FAR.bundle.roots
        assert "is not kept" in caplog.text


async def test_the_systems_roots_verify_the_web(tmp_path: Path, peer: Peer) -> None:
    """A server with an SVID proves nothing to the web's roots."""
    async with watched(tmp_path) as us:
        us.federation.configure([replace(peer.domain(), endpoint=None, first_bundle=None)])
        await eventually_async(lambda: us.federation.followed["far"].failures)
        assert "certificate verify failed" in us.federation.followed["far"].error


async def test_what_nobody_expected_is_a_failure_that_is_tried_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(tmp_path) as us:
        us.federation.configure([ForeignDomain("far", "https:///no-host")])
        await eventually_async(lambda: us.federation.followed["far"].failures)
        followed = us.federation.followed["far"]
        assert followed.due_at > us.now
        assert "https:///no-host: AssertionError" in followed.error
        assert "Traceback" in caplog.text
        await us.attempt(3600)
        assert followed.failures == 2
