"""The stream over mutual TLS with the workload's own certificate, which may be renewed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.config import bootstrap
from proxy.config.model import DataSource, Secret, TlsCertificate
from proxy.config.rejected import Rejected
from proxy.config.snapshot import Snapshot
from proxy.tasks import spawn
from proxy.xds.client import XdsClient
from tests.support.envoy_resources import (
    ADS,
    EXTENSIONS,
    bootstrap_file,
    endpoints,
    listener,
    routes,
    tls_cluster,
    trust_bundle,
)
from tests.support.fake_ads import FakeAds
from tests.support.pki import Authority
from tests.support.wait import eventually_async

SERVER_NAME = "weft-controlplane.weft-system.svc"


class FakeIdentity:
    """An identity whose certificates a test issues."""

    secret_name = "default"
    standing: frozenset[str] = frozenset()
    spread_s = 2.0

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.heard: list[Secret] = []
        self.reminded: list[Secret] = []
        self.refusals = 0
        self.secret: Secret | None = None
        self.callbacks: list[Callable[[Secret], None]] = []

    def listen(self, callback: Callable[[Secret], None]) -> None:
        self.callbacks.append(callback)

    async def told(self, secret: Secret, *, kept: bool = False) -> bool:
        (self.reminded if kept else self.heard).append(secret)
        return not kept

    def verifies_by(self, origin: str) -> bool:
        return False

    def refused(self) -> None:
        self.refusals += 1

    async def roots(self) -> bytes:
        return self.authority.pem.encode()

    def issue(self, name: str) -> None:
        pair = self.authority.issue(uris=(f"spiffe://cluster.local/ns/default/sa/{name}",))
        chain, key = DataSource(pair.certificate.encode()), DataSource(pair.key.encode())
        self.secret = Secret("default", certificate=TlsCertificate(chain, key))
        for callback in self.callbacks:
            callback(self.secret)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[FakeAds]:
    ads = FakeAds()
    ads.put(CDS, "a", "1", tls_cluster("a", "ROOTCA"))
    ads.put(EDS, "a", "1", endpoints("a", 8001))
    ads.put(SDS, "ROOTCA", "1", trust_bundle("ROOTCA", authority.pem))
    ads.put(LDS, "http", "1", listener("http", "r"))
    ads.put(RDS, "r", "1", routes("r", "a"))
    pair = authority.issue(dns=(SERVER_NAME,))
    await ads.start(
        grpc.ssl_server_credentials(
            [(pair.key.encode(), pair.certificate.encode())],
            authority.pem.encode(),
            require_client_auth=True,
        )
    )
    yield ads
    await ads.stop()


def mutual_tls(authority: Authority, sni: str = SERVER_NAME) -> object:
    context = {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": sni,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": ADS}],
            "validation_context": {"trusted_ca": {"inline_string": authority.pem}},
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def spiffe_ids(server: FakeAds) -> list[str]:
    return [peer["peer_spiffe_id"][0].decode().rpartition("/")[2] for peer in server.peers]


async def test_the_stream_waits_for_the_identity_and_is_renewed_with_it(
    server: FakeAds, authority: Authority, tmp_path: Path
) -> None:
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority))
    identity = FakeIdentity(authority)
    snapshots: list[Snapshot] = []
    client = XdsClient(bootstrap.load(path), snapshots.append, identity=identity)
    task = spawn(client.run(), "xds client")
    await eventually_async(lambda: snapshots, what="the static resources")
    assert server.peers == []
    identity.issue("first")
    await eventually_async(lambda: "http" in snapshots[-1].listeners, what="the listener")
    assert snapshots[-1].secrets.keys() == {"ROOTCA", "default"}
    assert spiffe_ids(server) == ["first"]
    assert list(server.said(SDS)[0].resource_names_subscribe) == ["ROOTCA"]
    identity.issue("second")
    await eventually_async(lambda: spiffe_ids(server) == ["first", "second"], what="a new stream")
    assert snapshots[-1].secrets["default"] is identity.secret
    task.cancel()
    await asyncio.wait([task])


async def test_what_stands_for_the_identity_is_asked_for_and_handed_on(
    server: FakeAds, authority: Authority, tmp_path: Path
) -> None:
    """Nothing names `mine`; whoever trusts other roots comes again."""
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority))
    identity = FakeIdentity(authority)
    identity.standing = frozenset({"mine"})
    identity.issue("first")
    server.put(SDS, "mine", "1", trust_bundle("mine", authority.pem))
    client = XdsClient(bootstrap.load(path), lambda _: None, identity=identity, jitter=lambda: 0.0)
    task = spawn(client.run(), "xds client")
    await eventually_async(lambda: len(server.peers) == 2, what="a stream with the new trust")
    assert [secret.name for secret in identity.heard] == ["mine"]
    server.put(SDS, "mine", "2", trust_bundle("mine", Authority("other").pem))
    await eventually_async(lambda: len(server.said(SDS)) >= 2, what="both subscribed")
    await server.push()
    await eventually_async(lambda: len(server.peers) == 3, what="a third stream")
    assert len(identity.heard) == 2
    task.cancel()
    await asyncio.wait([task])


async def test_after_a_restart_the_identity_is_reminded_of_what_is_not_pushed_again(
    server: FakeAds, authority: Authority, tmp_path: Path
) -> None:
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority))
    server.put(SDS, "mine", "1", trust_bundle("mine", authority.pem))
    identities = [FakeIdentity(authority), FakeIdentity(authority)]
    for identity in identities:
        await _one_run(identity, path, tmp_path)
    assert [secret.name for secret in identities[0].heard] == ["mine"]
    assert [secret.name for secret in identities[1].reminded] == ["mine"]
    assert identities[1].heard == []


async def _one_run(identity: FakeIdentity, path: Path, state_dir: Path) -> None:
    """Until it has a stream and was told what stands for it."""
    identity.standing = frozenset({"mine"})
    identity.issue("first")
    client = XdsClient(bootstrap.load(path), lambda _: None, identity=identity, state_dir=state_dir)
    task = spawn(client.run(), "xds client")
    await eventually_async(lambda: identity.heard or identity.reminded, what="being told")
    await eventually_async(lambda: client.status().connected, what="a stream")
    task.cancel()
    await asyncio.wait([task])


async def test_secrets_are_acknowledged_when_they_are_in_force(
    server: FakeAds, authority: Authority, tmp_path: Path
) -> None:
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority))
    identity = FakeIdentity(authority)
    identity.issue("first")
    busy = [True]
    client = XdsClient(
        bootstrap.load(path), lambda _: None, identity=identity, applying=lambda: busy[0]
    )
    task = spawn(client.run(), "xds client")

    def acknowledged() -> bool:
        return any(request.response_nonce for request in server.said(SDS))

    await eventually_async(lambda: server.said(RDS), what="what comes after secrets")
    await eventually_async(lambda: server.said(LDS)[-1].response_nonce, what="other answers")
    assert not acknowledged()
    identity.issue("second")  # nor is it shown to the control plane before it is to others
    assert spiffe_ids(server) == ["first"]
    busy[0] = False
    client.applied()
    await eventually_async(lambda: spiffe_ids(server) == ["first", "second"], what="a new stream")
    task.cancel()
    await asyncio.wait([task])


async def test_a_certificate_that_is_not_taken_is_told(
    server: FakeAds, authority: Authority, tmp_path: Path
) -> None:
    """By the handshake, which TLS 1.3 ends before, or by the stream's status."""
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority))
    identity = FakeIdentity(Authority("another"))
    identity.issue("stranger")
    client = XdsClient(bootstrap.load(path), lambda _: None, identity=identity, jitter=lambda: 1.0)
    task = spawn(client.run(), "xds client")
    await eventually_async(lambda: identity.refusals, what="the handshake's end")
    server.refuse = "it is revoked"
    identity.authority = authority
    identity.issue("revoked")
    await eventually_async(lambda: server.peers, what="a stream")
    told = identity.refusals
    await eventually_async(lambda: identity.refusals > told, what="the stream's end")
    server.refuse = ""
    await eventually_async(lambda: server.said(CDS), what="a stream that stays")
    task.cancel()
    await asyncio.wait([task])


async def test_a_server_with_another_name_is_not_believed(
    server: FakeAds, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = bootstrap_file(tmp_path, server.port, tls=mutual_tls(authority, "other.example"))
    identity = FakeIdentity(authority)
    identity.issue("first")
    client = XdsClient(bootstrap.load(path), lambda snapshot: None, identity=identity)
    task = spawn(client.run(), "xds client")
    await eventually_async(
        lambda: any("cannot be reached" in r.getMessage() for r in caplog.records)
    )
    assert server.peers == []
    task.cancel()
    await asyncio.wait([task])


def test_a_certificate_that_nobody_holds_is_refused_at_start(
    authority: Authority, tmp_path: Path
) -> None:
    path = bootstrap_file(tmp_path, 1, tls=mutual_tls(authority))
    with pytest.raises(Rejected, match="there is no secret `default`"):
        XdsClient(bootstrap.load(path), lambda snapshot: None)


async def test_a_proxy_with_static_resources_only_publishes_them_and_imports_no_grpc(
    tmp_path: Path,
) -> None:
    code = (
        "import asyncio, sys\n"
        "from proxy.config.model import Bootstrap, Cluster\n"
        "from proxy.xds.client import XdsClient\n"
        "got = []\n"
        "async def main():\n"
        "    client = XdsClient(Bootstrap(clusters=(Cluster('a'),)), got.append)\n"
        "    try:\n"
        "        await asyncio.wait_for(client.run(), 0.05)\n"
        "    except TimeoutError:\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "print(list(got[0].clusters), 'grpc' in sys.modules, 're2' in sys.modules)\n"
    )
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == "['a'] False False"
