"""Proxies try a staged authority's chain against a real probe, and who fails is named with why."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import time
from pathlib import Path

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from certs import steps
from certs.authority import Authority
from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.store import load_store, open_store
from controlplane.ca.issued import issue_secret
from controlplane.ca.sds import SdsSecrets
from controlplane.emit import rehearsal as emitted
from controlplane.emit.node import Node
from controlplane.resources import assemble
from controlplane.rotation.progress import ProxyProgress
from controlplane.rotation.rehearsal import ExtrasFor, Rehearsals
from controlplane.rotation.roster import ROSTER_FILE, Roster
from controlplane.tasks import spawn
from protos.types import CDS
from tests.support.live import live
from tests.support.meshed import CART, Meshed
from tests.support.pki import Authority as Stranger


class Mesh:
    """Proxies whose checks a test makes by hand: `visit` does what the pushed cluster says."""

    def __init__(self, state_dir: Path) -> None:
        self.clock = time.time()
        stored = open_store(state_dir, "cluster.local", self.clock)
        self.roster = Roster(state_dir / ROSTER_FILE, lambda: self.clock)
        self.sds = SdsSecrets(live(stored.authority), None, lambda: self.clock)
        self.state_dir = state_dir
        self.recorded: list[tuple[SpiffeId, str]] = []
        self.rehearsals = Rehearsals(
            *(state_dir, self.roster, self._show, "127.0.0.1", lambda: self.clock),
            record=lambda leaf, identity, asked, now: self.recorded.append((identity, asked)),
            wait_s=0.3,
        )
        self.shown: list[bool] = []
        self.visits: dict[str, str] = {}

    def join(self, name: str, visits: str = "well", *, weft_agent: bool = True) -> Meshed:
        """visits: 'well', 'distrusts', 'refuses' (the cluster), 'never', or what it shows instead
        of its certificate: 'nothing', 'old' (of another authority) or 'another' (identity)."""
        proxy = Meshed(name, self.sds, self.roster, now=self.clock, weft_agent=weft_agent)
        proxy.machine.feed(DeltaDiscoveryRequest(type_url=CDS))
        self.visits[proxy.id] = visits
        return proxy

    def stage(self) -> str:
        new = Authority.create("cluster.local", self.clock)
        return steps.stage(self.state_dir, self.clock, new).state.target

    def _show(self, extras: ExtrasFor | None) -> None:
        self.shown.append(extras is not None)
        if extras is not None:
            for connection in self.roster.connected().values():
                spawn(self._visit(connection.node, extras), "a visit")

    async def _visit(self, node: Node, extras: ExtrasFor) -> None:
        (cluster,) = extras(node).clusters
        how = self.visits[node.id]
        if how == "refuses":
            machine = self.roster.connected()[node.id, str(CART)].machine
            for push in machine.on_snapshot(assemble(extras(node).encode())):
                answer = DeltaDiscoveryRequest(type_url=CDS, response_nonce=push.nonce)
                answer.error_detail.message = f"{cluster.name}: no health checks here"
                machine.feed(answer)
        elif how != "never":
            shown = self._shown_pem(extras(node).secrets, how)
            await _handshake(cluster, shown, trusting=how != "distrusts")

    def _shown_pem(self, secrets: tuple[Secret, ...], how: str) -> bytes:
        """Chain and key, b'' for none."""
        if how in ("old", "another"):
            old = load_store(self.state_dir, None)
            signer = old.authority if how == "old" or old.other is None else old.other
            who = CART if how == "old" else SpiffeId.workload("cluster.local", "default", "x")
            made = issue_secret(signer, who, 60.0, self.clock)
            return made.chain_pem + made.key_pem
        if how == "nothing" or not secrets:
            return b""
        (pair,) = (one.tls_certificate for one in secrets if one.name == "weft.dev/rehearsal")
        return bytes(pair.certificate_chain.inline_bytes + pair.private_key.inline_bytes)

    async def rehearse(self, target: str) -> list[tuple[str, str, str]]:
        found = await self.rehearsals.run(target)
        return [(_name(one), one.state, one.detail) for one in found]


def _name(one: ProxyProgress) -> str:
    return one.node_id.split("~")[2].partition(".")[0]


async def _handshake(cluster: Cluster, shown: bytes, *, trusting: bool) -> None:
    """As the cluster says, with Python's TLS; not trusting: by another root. shown: chain and key
    of what it shows."""
    tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    validation = tls.common_tls_context.validation_context
    pem = validation.trusted_ca.inline_bytes.decode()
    context = ssl.create_default_context(cadata=pem if trusting else Stranger().pem)
    context.check_hostname = False
    if shown:
        assert tls.common_tls_context.tls_certificate_sds_secret_configs
        with tempfile.NamedTemporaryFile() as file:
            file.write(shown)
            file.flush()
            context.load_cert_chain(file.name)
    where = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    # In a thread: asyncio's own TLS breaks off without an alert.
    await asyncio.to_thread(_shake, (where.address, where.port_value), context, tls.sni)


def _shake(address: tuple[str, int], context: ssl.SSLContext, name: str) -> None:
    with socket.create_connection(address, 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as tls:
                tls.recv(1)  # with TLS 1.3 a refusal comes after the handshake
        except (ssl.SSLError, ConnectionError):
            pass


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)


async def test_it_says_of_each_proxy_whether_it_verifies_the_new_chain(mesh: Mesh) -> None:
    mesh.join("a")
    mesh.join("b", "distrusts")
    mesh.join("c", "refuses")
    mesh.join("d", "never")
    mesh.join("e").go()
    found = await mesh.rehearse(mesh.stage())
    assert [(name, state) for name, state, _ in found] == [
        ("a", "done"),
        ("b", "refused"),
        ("c", "refused"),
        ("d", "waiting"),
        ("e", "away"),
    ]
    details = [detail for _, _, detail in found]
    assert "unknown_ca" in details[1]
    assert "no health checks here" in details[2]
    assert "can it reach that address" in details[3]
    assert mesh.shown == [True, False]


async def test_what_a_proxy_shows_is_verified_as_its_peers_will(mesh: Mesh) -> None:
    for name, how in zip("abcd", ("well", "nothing", "old", "another"), strict=True):
        mesh.join(name, how)
    mesh.rehearsals._wait_s = 60.0
    found = await mesh.rehearse(mesh.stage())
    assert [state for _, state, _ in found] == ["done", *["refused"] * 3]
    details = [detail for _, _, detail in found]
    assert details[1] == "did not show a certificate of the new authority"
    assert "is refused by its peers: " in details[2]
    assert details[3].endswith(f"is for spiffe://cluster.local/ns/default/sa/x, not for {CART}")
    # What was given out for it stands in the log, as everything that is.
    assert [identity for identity, _ in mesh.recorded] == [CART] * 4
    assert {asked for _, asked in mesh.recorded} == {"rehearsal"}


async def test_an_envoy_that_gets_no_keys_shows_nothing(mesh: Mesh) -> None:
    mesh.rehearsals._gives_keys = False
    mesh.join("a", weft_agent=False)
    found = await mesh.rehearse(mesh.stage())
    assert [state for _, state, _ in found] == ["done"]
    assert mesh.recorded == []


async def test_it_ends_as_soon_as_all_were_heard(mesh: Mesh) -> None:
    mesh.rehearsals._wait_s = 60.0
    mesh.join("a")
    target = mesh.stage()
    for _ in range(2):
        assert [state for _, state, _ in await mesh.rehearse(target)] == ["done"]


async def test_without_proxies_there_is_nothing_to_say(mesh: Mesh) -> None:
    assert await mesh.rehearse(mesh.stage()) == []


async def test_only_what_is_staged_can_be_rehearsed(mesh: Mesh) -> None:
    with pytest.raises(CertificateError, match="is not staged"):
        await mesh.rehearse("0" * 32)
    assert mesh.shown == []


async def test_a_host_that_is_not_ours_is_named(mesh: Mesh) -> None:
    mesh.rehearsals._host = "192.0.2.1"
    with pytest.raises(CertificateError, match=r"the probe cannot listen on 192\.0\.2\.1"):
        await mesh.rehearse(mesh.stage())


def test_server_names_are_names_and_differ() -> None:
    names = {emitted.server_name(f"sidecar~{i}" * 40) for i in range(10)}
    assert len(names) == 10
    assert all(len(name) < 64 and name.isascii() for name in names)
