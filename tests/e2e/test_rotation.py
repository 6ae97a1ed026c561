"""The authority is replaced while everything crosses the mesh, and nothing fails.

Weft's sidecars and a real Envoy, requests, gRPC streams and TCP, on connections old and new. Leaves
live for 10 s and are renewed about every 5 s meanwhile. Long: `python -m benchmarks.rotation`.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from certs.authority import Authority
from certs.cacerts import CRL_PEM, load_cacerts, save_cacerts
from certs.cli import init, stage
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_to_pem
from protos.gen.weft.v1 import authority_pb2 as pb
from protos.gen.weft.v1 import authority_pb2_grpc
from tests.support.handmade import synced
from tests.support.load import load
from tests.support.rotating import Rotating
from tests.support.wait import eventually
from weft import loopback
from weft.errors import UserError
from weft.rotate_online import (
    abort_online,
    revocations_online,
    revoke_online,
    rotate_online,
    status_online,
)

pytestmark = pytest.mark.timeout(300)
TTL_S = 10


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotating]:
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("rotation")
        _begin_with_lists(directory)
        yield Rotating(directory, stack, "weft", ("weft", "envoy"), TTL_S)


def _begin_with_lists(directory: Path) -> None:
    """An intermediate, and the list of its root: proxies look up whole chains."""
    now, folder = time.time(), directory / "cacerts"
    root = Authority.create("cluster.local", now)
    save_cacerts(folder, root.create_intermediate(now))
    save_cacerts(directory / "fallen", fallen := root.create_intermediate(now))
    listed = root.crl({fallen.certificate.serial_number: now}, now)
    (folder / CRL_PEM).write_bytes(listed)
    init(directory / "state", "cluster.local", now, source=folder)


def test_an_intermediate_that_its_root_has_revoked_is_refused(mesh: Rotating) -> None:
    fallen = load_cacerts(mesh.directory / "fallen", time.time())
    assert strangers(mesh, "another", fallen) == ["refused", "refused"]
    assert strangers(mesh, "another") == ["200", "200"]


def test_every_proxy_tries_a_new_chain_before_anything_changes(mesh: Rotating) -> None:
    before = mesh.plane.root_pem
    said: list[str] = []
    target = stage(mesh.plane.state, time.time())
    assert rotate_online(mesh.plane.state, target, rehearse=True, say=said.append) == 0, said
    assert said == ["3 of 3 proxies verify the new chain, and are verified by it"]
    assert mesh.plane.root_pem == before
    assert abort_online(mesh.plane.state, target, say=said.append) == 0
    assert status_online(mesh.plane.state, say=said.append) == 0
    assert [line.partition(":")[0] for line in said[1:]] == ["steady"] * 2
    with pytest.raises(UserError, match="is not staged"):
        rotate_online(mesh.plane.state, target, say=said.append)


def test_only_the_administrator_may_replace_or_revoke(mesh: Rotating) -> None:
    token = mesh.plane.join_token("caller")
    stub = authority_pb2_grpc.AuthorityStub(mesh.plane.channel())  # type: ignore[no-untyped-call]
    calls = (
        lambda metadata: stub.Revoke(pb.RevokeRequest(what="ab"), metadata=metadata),
        lambda metadata: list(stub.Rotate(pb.RotateRequest(target="ab"), metadata=metadata)),
        lambda metadata: stub.Rehearse(pb.RehearseRequest(target="ab"), metadata=metadata),
        lambda metadata: stub.AbortRotation(pb.AbortRotationRequest(), metadata=metadata),
        lambda metadata: stub.GetRotation(pb.GetRotationRequest(), metadata=metadata),
        lambda metadata: stub.GetRevocations(pb.GetRevocationsRequest(), metadata=metadata),
    )
    for call in calls:
        with pytest.raises(grpc.RpcError) as refusal:
            call((("authorization", f"Bearer {token}"),))
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.RpcError) as refusal:
            call(())
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_who_is_revoked_is_out_within_seconds_and_may_come_back(mesh: Rotating) -> None:
    """Also on connections that are there: Weft ends them, Envoy refuses what comes over them."""
    caller = "spiffe://cluster.local/ns/default/sa/caller"
    with load(mesh.caller.outbound, "web:8080", per_second=50) as flowing:
        flowing.more(20)
        assert flowing.failures == []
        revoke_online(mesh.plane.state, caller, "stolen")
        ended = "server.revoked_connections_ended"
        eventually(lambda: mesh.sidecars[1].stats().get(ended, 0) > 0, 30, ended)
        eventually(lambda: all(refused(mesh)), 30, "handshakes that both have refused")
        # Envoy keeps the connections that it has, and refuses what comes over them.
        eventually(lambda: 403 in kept(mesh), 30, "requests that Envoy has refused")
        eventually(lambda: f"{caller} is revoked: stolen" in mesh.plane.log, 30, "its stream ended")
        with pytest.raises(UserError, match="neither a serial number"):
            revoke_online(mesh.plane.state, "caller")
        # Also with a certificate that the issue log does not know, and no list.
        eventually(lambda: strangers(mesh, "caller") == ["refused", "403"], 30, "its other key")
        assert strangers(mesh, "another") == ["200", "200"]
        said: list[str] = []
        assert revocations_online(mesh.plane.state, say=said.append) == 0
        assert caller in said[0]
        assert "stolen" in said[0]
        revoke_online(mesh.plane.state, caller, restore=True)
        eventually(lambda: set(fresh(mesh)) == {200}, 30, "new connections to both")
        eventually(lambda: synced(mesh.plane, 3), 30, "its stream")


def kept(mesh: Rotating) -> list[int]:
    """Answers to requests over connections that are kept open, to one server and to the other."""
    return [loopback.get_now(mesh.caller.outbound, "/", "web:8080").status for _ in range(4)]


def strangers(mesh: Rotating, account: str, issuer: Authority | None = None) -> list[str]:
    """What comes of a request to each server itself with a new certificate for the account."""
    authority = issuer or load_store(mesh.plane.state, time.time()).authority
    key = generate_key()
    identity = SpiffeId.workload("cluster.local", "default", account)
    chain = authority.sign(key.public_key(), identity, 60.0, time.time())
    context = ssl.create_default_context(cadata=mesh.plane.root_pem.decode())
    context.check_hostname = False
    shown = mesh.directory / "stranger.pem"
    shown.write_bytes(chain_to_pem(chain[:-1]) + key_to_pem(key))
    context.load_cert_chain(shown)
    return [answer(server.listen["http"], context) for server in mesh.servers]


def answer(port: int, context: ssl.SSLContext) -> str:
    """The status of one request, "refused" where none is served."""
    try:
        plain = socket.create_connection(("127.0.0.1", port), 20)
        with plain, context.wrap_socket(plain) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return tls.recv(100).split(b" ")[1].decode()
    except (OSError, IndexError):
        return "refused"


def fresh(mesh: Rotating) -> list[int]:
    """Answers to requests that each take a new connection, to one server and to the other."""
    port = mesh.caller.outbound
    return [loopback.get_now(port, "/", "fresh:8081").status for _ in range(4)]


def refused(mesh: Rotating) -> list[int]:
    """How many handshakes each server's sidecar has refused, after some more."""
    fresh(mesh)
    stats = [sidecar.stats().items() for sidecar in mesh.sidecars[1:]]
    return [sum(n for name, n in one if name.endswith("fail_verify_error")) for one in stats]


def test_nothing_fails_while_root_intermediate_and_leaves_are_replaced(mesh: Rotating) -> None:
    before = mesh.plane.root_pem
    outcome = mesh.run(200, ("root", "intermediate"))
    assert outcome.failed == {}
    assert set(outcome.kinds) == {"kept", "new", "fresh", "unary", "streams", "tcp", "tunnels"}
    assert all(one["done"] > 10 for one in outcome.kinds.values()), outcome.kinds
    after = mesh.plane.root_pem
    assert before not in after and after.count(b"BEGIN CERTIFICATE") == 1
    # Both sidecars of the backend had their part of it, on both sides of each step.
    for sidecar in mesh.sidecars[1:]:
        assert sum(n for name, n in sidecar.stats().items() if name.endswith("downstream_rq_2xx"))
    assert mesh.renewals() >= 4  # two proxies, two rotations
    for log in (mesh.plane.log, mesh.sidecars[0].log, mesh.sidecars[1].log):
        assert "Traceback" not in log
