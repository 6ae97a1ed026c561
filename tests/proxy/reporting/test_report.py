"""Reports of a proxy at a real control plane's port, and what comes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import open_store
from certs.x509 import chain_to_pem
from controlplane.api.doctor import DoctorService, register_doctor
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import SERVER_NAME, ServingCertificate, mtls_credentials
from controlplane.ca.tokens import JoinTokens
from controlplane.doctor.reports import Report, Reports
from controlplane.doctor.watch import Watch
from controlplane.rpc.server import Server
from protos.gen.weft.v1 import doctor_pb2 as pb
from proxy.certificate_call import Svid
from proxy.config.model import Cluster, CommonTls, DataSource, TlsCertificate, UpstreamTls
from proxy.config.snapshot import Snapshot
from proxy.http.grpc import RpcError
from proxy.identity import Identity, IdentityOptions
from proxy.reporting.report import METHOD, Reporter, Target
from proxy.rpc.connection import open_call
from proxy.rpc.credentials import client_tls
from proxy.tasks import spawn
from tests.support.wait import eventually_async

CART = SpiffeId.workload("cluster.local", "default", "cart")
NODE = "sidecar~127.0.0.1~cart-1.default~default.svc.cluster.local"


class Plane:
    """The doctor's service on a port for mutual TLS. streams: node id -> identity."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.authority = LiveAuthority(open_store(state_dir, "cluster.local", time.time()))
        self.streams: dict[str, SpiffeId] = {NODE: CART}
        self.reports = Reports(self._connected)
        self.address = ""

    def _connected(self) -> Any:
        node = SimpleNamespace(id=NODE)
        return {
            (name, str(identity)): SimpleNamespace(node=node, identity=identity)
            for name, identity in self.streams.items()
        }

    def taken(self) -> Report | None:
        return self.reports.of(
            cast(Any, SimpleNamespace(node=SimpleNamespace(id=NODE), identity=CART))
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        tokens = JoinTokens(self.state_dir / "tokens.json", "cluster.local")
        authenticator = Authenticator(tokens, "secret", "cluster.local")
        watch = Watch(lambda now: iter(()), time.time)
        server = Server()
        register_doctor(DoctorService(authenticator, self.reports, watch), server)
        credentials = mtls_credentials(ServingCertificate(self.authority), self.authority)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)

    def identity(self) -> Identity:
        """Of a proxy that has its certificate already."""
        root, token = self.state_dir / "root.pem", self.state_dir / "token"
        found = Identity(IdentityOptions(self.address, root, token, ca_mtls_address=self.address))
        key = generate_key()
        chain = self.authority.sign(key.public_key(), CART, 600, time.time())
        found.svid = Svid(key, chain[:-1])
        found.spread_s = 0.0
        return found

    async def call(self, report: pb.ProxyReport) -> bytes | None:
        """By hand, with a certificate that is in order."""
        identity = self.identity()
        assert identity.svid is not None
        pems = chain_to_pem(identity.svid.chain), key_to_pem(identity.svid.key)
        tls = client_tls(self.address, await identity.roots(), SERVER_NAME, *pems)
        call = await open_call(self.address, METHOD, tls=tls, authority=SERVER_NAME)
        try:
            await call.send(report.SerializeToString(), end=True)
            return await call.receive()
        finally:
            call.close()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    plane = Plane(tmp_path / "state")
    async with plane.serving():
        yield plane


class Proxy:
    """Its snapshot and its clock; a Reporter that does not sleep."""

    def __init__(self, plane: Plane, ahead_s: float = 0.0, address: str = "") -> None:
        self.snapshot = Snapshot()
        self.connected = True
        self.looks = 0
        self.identity = plane.identity()
        self.reporter = Reporter(
            Target(NODE, address or plane.address, SERVER_NAME),
            self.identity,
            lambda: self.snapshot,
            self._look,
            clock=lambda: time.time() + ahead_s,
            sleep=lambda seconds: asyncio.sleep(0.001),
            jitter=lambda: 0.0,
        )

    def _look(self) -> bool:
        self.looks += 1
        return self.connected

    async def looked(self) -> None:
        """It has looked what is held, and done what follows."""
        seen = self.looks
        await until(lambda: self.looks > seen + 1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = spawn(self.reporter.run(), "reporter")
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    await eventually_async(condition, 20.0, "a report")


async def test_what_is_held_is_reported_at_first_and_when_it_changes(plane: Plane) -> None:
    proxy = Proxy(plane)
    proxy.connected = False
    async with proxy.running():
        await proxy.looked()
        assert plane.taken() is None
        proxy.connected = True
        await until(lambda: proxy.reporter.reports == 1)
        first = plane.taken()
        assert first is not None
        assert abs(first.ahead_s) < 5
        assert first.held == ()
        (leaf, *_) = plane.authority.sign(generate_key().public_key(), CART, 300, time.time())
        pem = DataSource(chain_to_pem((leaf,)), "/certs/bank.pem")
        tls = UpstreamTls(CommonTls(certificates=(TlsCertificate(pem, DataSource(b"")),)))
        proxy.snapshot = Snapshot(clusters={"bank": Cluster("bank", tls=tls)})
        await until(lambda: proxy.reporter.reports == 2)
        second = plane.taken()
        assert second is not None
        (held,) = second.held
        assert (held.serial, held.used_by) == (f"{leaf.serial_number:x}", ("cluster bank",))
        assert held.life.not_after == leaf.not_valid_after_utc.timestamp()
        proxy.connected = False
        await proxy.looked()
        proxy.connected = True  # another control plane, maybe
        await until(lambda: proxy.reporter.reports == 3)


async def test_a_clock_that_is_off_is_measured_and_told_on_both_sides(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "weft.reporting")
    proxy = Proxy(plane, ahead_s=-200.0)
    async with proxy.running():
        await until(lambda: proxy.reporter.reports == 1)
    report = plane.taken()
    assert report is not None
    assert report.ahead_s == pytest.approx(-200, abs=5)
    assert proxy.reporter.clock_ahead_s == pytest.approx(-200, abs=5)
    (record,) = caplog.records
    assert "behind the control plane's" in record.getMessage()


async def test_a_proxy_without_a_stream_is_refused_and_tries_again(plane: Plane) -> None:
    plane.streams[NODE] = SpiffeId.workload("cluster.local", "default", "other")
    proxy = Proxy(plane)
    async with proxy.running():
        await until(lambda: proxy.reporter.failures > 1)
        assert "no discovery stream as node" in proxy.reporter.last_error
        assert plane.taken() is None
        plane.streams[NODE] = CART
        await until(lambda: proxy.reporter.reports == 1)


async def test_a_control_plane_that_is_away_does_no_harm(plane: Plane) -> None:
    proxy = Proxy(plane, address="127.0.0.1:1")
    async with proxy.running():
        await until(lambda: proxy.reporter.failures > 1)
    assert proxy.reporter.reports == 0


async def test_reports_that_are_no_good_change_nothing(plane: Plane) -> None:
    now = pb.ProxyReport(node_id=NODE)
    now.sent_at.GetCurrentTime()
    good = pb.HeldCertificate(kind="trust", name="a\nb" + "x" * 5000)
    for fault, change in (
        ("sent_at is not set", lambda one: one.ClearField("sent_at")),
        ("at most 256", lambda one: one.certificates.extend([good] * 257)),
        ("is none of identity", lambda one: one.certificates.add(kind="spy\n")),
        ("between the years", lambda one: setattr(one.sent_at, "seconds", 10**15)),
        ("between the years", lambda one: setattr(one.sent_at, "nanos", -5)),
    ):
        report = pb.ProxyReport()
        report.CopyFrom(now)
        change(report)
        with pytest.raises(RpcError, match=fault):
            await plane.call(report)
        assert plane.taken() is None
    now.certificates.append(good)
    await plane.call(now)
    taken = plane.taken()
    assert taken is not None
    assert taken.held[0].name == "a b" + "x" * 509


async def test_only_the_administrator_may_ask_how_all_is(plane: Plane) -> None:
    identity = plane.identity()
    assert identity.svid is not None
    pems = chain_to_pem(identity.svid.chain), key_to_pem(identity.svid.key)
    for metadata, refused in (((), True), ((("authorization", "Bearer secret"),), False)):
        tls = client_tls(plane.address, await identity.roots(), SERVER_NAME, *pems)
        path = "/weft.v1.Doctor/Examine"
        call = await open_call(
            plane.address, path, tls=tls, authority=SERVER_NAME, metadata=metadata
        )
        await call.send(b"", end=True)
        if refused:
            with pytest.raises(RpcError, match="administrator's token"):
                await call.receive()
        else:
            body = await call.receive()
            assert body is not None
            assert pb.Examination.FromString(body).HasField("at")
        call.close()
