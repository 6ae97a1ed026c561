"""Two control planes on a real etcd: any serves any proxy, one may die, and so may etcd."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from certs.csr import make_csr
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_from_pem, chain_to_pem
from protos.gen.istio import ca_pb2 as ca
from protos.gen.weft.v1 import authority_pb2 as authority
from protos.gen.weft.v1 import management_pb2 as pb
from protos.types import SDS
from tests.support.control_plane import ControlPlane
from tests.support.etcd import Etcd
from tests.support.roaming import Roamer, Svid
from tests.support.wait import eventually

PASSPHRASE = b"open sesame"
LONG_S = 60.0
PROXIES = 4

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: till}
spec: {selector: {app: till}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cellar}
spec: {selector: {app: cellar}, ports: [{name: http, port: 80, targetPort: http}]}
---
"""


def entry(address: str, service: str = "till") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {service}-1}}
spec: {{address: {address}, ports: {{http: 9101}}, labels: {{app: {service}}}}}
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    etcd: Etcd
    one: ControlPlane
    two: ControlPlane

    def apply(self, plane: ControlPlane, manifest: str) -> pb.ApplyResponse:
        request = pb.ApplyRequest(manifest=manifest)
        answer: pb.ApplyResponse = plane.call("Apply", request, pb.ApplyResponse)
        return answer

    def status(self, plane: ControlPlane) -> pb.MeshStatus:
        answer: pb.MeshStatus = plane.call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus)
        return answer

    def agree(self) -> bool:
        return self.status(self.one).version == self.status(self.two).version


def replica(etcd: Etcd, directory: Path, name: str) -> ControlPlane:
    secret = directory / "passphrase"
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    (directory / "mesh").mkdir(exist_ok=True)
    place = f"etcd://{etcd.endpoint}/weft"
    options = ("--store", place, "--state-passphrase-file", str(secret), "--allow-sds-keys")
    return ControlPlane(directory / "mesh", directory / name, *options)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd(directory))
        both = [replica(etcd, directory, name) for name in ("one", "two")]
        for plane in both:
            plane.launch()  # at the same time: one of them makes the authority
        for plane in both:
            stack.callback(plane.stop)
            plane.wait()
        made = Cluster(etcd, *both)
        made.apply(made.one, SHOP + entry("10.0.0.1") + "---" + entry("10.0.1.1", "cellar"))
        eventually(made.agree, LONG_S, "both have what was applied")
        yield made


def svid(plane: ControlPlane, name: str) -> Svid:
    stored = load_store(plane.state, time.time(), PASSPHRASE)
    key = generate_key()
    who = SpiffeId.workload("cluster.local", "default", name)
    chain = stored.authority.sign(key.public_key(), who, 3600, time.time())[:-1]
    return Svid(stored.bundle.to_pem(), key_to_pem(key), chain_to_pem(chain))


@pytest.fixture
def proxies(cluster: Cluster) -> Iterator[list[Roamer]]:
    """Half of them begin at one replica, half at the other."""
    addresses = [plane.serving["mtls_address"] for plane in (cluster.one, cluster.two)]
    with ExitStack() as stack:
        made = []
        for number in range(PROXIES):
            name, ours = f"w{number}", addresses[:: -1 if number % 2 else 1]
            made.append(stack.enter_context(Roamer(name, svid(cluster.one, name), ours)))
        for one in made:
            one.wait_synced()
        eventually(lambda: len({trust_of(one) for one in made}) == 1, LONG_S, "one trust")
        yield made


def trust_of(proxy: Roamer) -> str:
    return proxy.held.get(SDS, {}).get("ROOTCA", "")


def all_have(proxies: list[Roamer], words: bytes) -> None:
    for one in proxies:
        one.wait_for(words)


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[str, str]:
    call: Any = error.value
    return call.code().name, call.details()


def ask(plane: ControlPlane, method: str, request: Any, answer: type[Any]) -> Any:
    """A call of weft.v1.Authority."""
    token = (plane.state / "admin.token").read_text().strip()
    call = plane.channel().unary_unary(
        f"/weft.v1.Authority/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )
    return call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=30)


def test_both_have_one_authority_and_its_key_leaves_the_machine_sealed(cluster: Cluster) -> None:
    assert cluster.one.root_pem == cluster.two.root_pem
    tokens = [(plane.state / "admin.token").read_text() for plane in (cluster.one, cluster.two)]
    assert tokens[0] == tokens[1]
    values = cluster.etcd.values("weft/")
    kinds = {name.split("/")[1] for name in values}
    assert kinds - {"members"} == {"authority", "objects", "replicas"}
    for value in values.values():
        assert b"PRIVATE KEY" not in value and tokens[0].strip().encode() not in value


def test_tokens_and_revocations_of_one_count_at_the_other(cluster: Cluster) -> None:
    token = cluster.one.join_token("joiner")

    def refusal() -> str:
        with pytest.raises(grpc.RpcError) as caught:
            cluster.two.call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus, token)
        return code_of(caught)[0]

    eventually(lambda: refusal() == "PERMISSION_DENIED", LONG_S, "it is known who joins")
    who = "spiffe://cluster.local/ns/default/sa/joiner"
    for restore, count in ((False, 1), (True, 0)):
        revoke(cluster.one, who, restore=restore)

        def known(count: int = count) -> bool:
            request = authority.GetRevocationsRequest()
            found = ask(cluster.two, "GetRevocations", request, authority.Revocations)
            return len(found.revocations) == count

        eventually(known, LONG_S, "the other one knows")


def test_certificates_of_a_revoked_identity_are_known_to_who_has_not_issued_them(
    cluster: Cluster,
) -> None:
    who = SpiffeId.workload("cluster.local", "default", "thief")
    call = cluster.two.channel().unary_unary(
        "/istio.v1.auth.IstioCertificateService/CreateCertificate",
        request_serializer=ca.IstioCertificateRequest.SerializeToString,
        response_deserializer=ca.IstioCertificateResponse.FromString,
    )
    request = ca.IstioCertificateRequest(csr=make_csr(generate_key(), who).decode())
    bearer = (("authorization", f"Bearer {cluster.two.join_token('thief')}"),)
    answer = call(request, metadata=bearer, timeout=30)
    (leaf,) = chain_from_pem("".join(answer.cert_chain).encode(), "answer")[:1]
    revoke(cluster.one, str(who))
    name = f"weft/certificates-of-revoked/{leaf.serial_number:x}"
    eventually(lambda: name in cluster.etcd.values("weft/"), LONG_S, "it is told")
    revoke(cluster.one, str(who), restore=True)
    eventually(lambda: name not in cluster.etcd.values("weft/"), LONG_S, "it is forgotten")
    for plane in (cluster.one, cluster.two):
        eventually(partial(nothing_revoked, plane), LONG_S, "it is taken back")


def revoke(plane: ControlPlane, what: str, *, restore: bool = False) -> None:
    """Again, as it says, while it has not heard yet what was revoked a moment ago."""
    asked = authority.RevokeRequest(what=what, restore=restore)

    def done() -> bool:
        try:
            ask(plane, "Revoke", asked, authority.Revocations)
        except grpc.RpcError as refused:
            if "at the same time: try again" not in str(refused):
                raise
            return False
        return True

    eventually(done, LONG_S, "it is revoked")


def nothing_revoked(plane: ControlPlane) -> bool:
    request = authority.GetRevocationsRequest()
    return not ask(plane, "GetRevocations", request, authority.Revocations).revocations


def test_a_replica_dies_and_its_proxies_move_without_a_push(
    cluster: Cluster, proxies: list[Roamer]
) -> None:
    home = cluster.two.serving["mtls_address"]
    away = [one for one in proxies if one.synced_at != home]
    assert len(away) == PROXIES // 2
    for one in proxies:
        one.forget()
    cluster.one.stop(signal.SIGKILL)
    for one in away:
        one.wait_synced(home)
    assert [one.received for one in proxies] == [[]] * PROXIES
    cluster.apply(cluster.two, entry("10.0.0.2"))
    all_have(proxies, b"10.0.0.2")
    changed = ["outbound|80||till.default.svc.cluster.local"]
    assert [one.received for one in proxies] == [changed] * PROXIES
    cluster.one.start()
    eventually(cluster.agree, LONG_S, "it has all of it again")


def test_a_replica_dies_under_change_and_nobody_misses_any(
    cluster: Cluster, proxies: list[Roamer]
) -> None:
    for number in range(20):
        cluster.apply(cluster.one, entry(f"10.1.0.{number}"))
        if number == 10:
            cluster.two.stop(signal.SIGKILL)
    all_have(proxies, b"10.1.0.19")


def test_etcd_dies_and_serving_goes_on(cluster: Cluster, proxies: list[Roamer]) -> None:
    one = cluster.one
    cluster.etcd.stop()
    with pytest.raises(grpc.RpcError) as caught:
        cluster.apply(one, entry("10.2.0.1"))
    code, why = code_of(caught)
    assert code == "UNAVAILABLE"
    assert "nothing was changed" in why and "try again when etcd is back" in why
    eventually(lambda: told(one) == ["StoreAway"], LONG_S, "it is told")
    metrics = one.page("/metrics")[1]
    assert "weft_store_up 0.0" in metrics and "weft_store_objects 4.0" in metrics
    assert one.page("/ready") == (200, "LIVE\n")
    with Roamer("late", svid(one, "late"), [one.serving["mtls_address"]]) as late:
        late.wait_synced()
    file = one.config / "more.yaml"
    file.write_text(entry("10.2.0.2", "cellar").replace("cellar-1", "cellar-2"))
    all_have(
        [each for each in proxies if each.synced_at == one.serving["mtls_address"]], b"10.2.0.2"
    )
    cluster.etcd.start()
    eventually(lambda: told(one) == [], LONG_S, "it is back")
    cluster.apply(one, entry("10.2.0.3"))
    all_have(proxies, b"10.2.0.3")


def told(plane: ControlPlane) -> list[str]:
    found = plane.call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus)
    return [one.code for one in found.objects if one.severity != "info"]
