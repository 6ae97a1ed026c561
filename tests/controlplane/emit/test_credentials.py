"""Credentials that users bring: what SDS serves of them, who gets them, and what others see."""

from __future__ import annotations

import pytest

from controlplane.emit import clusters, credentials, tls
from controlplane.mesh.credentials import Credential
from controlplane.mesh.model import ClientTls, Mesh, Service, ServicePort, TrafficPolicy
from proxy.config.decode_tls import secret, upstream
from tests.support.pki import Authority

ROOT = Authority()
PAIR = ROOT.issue(dns=("me.test",))
WHOLE = Credential(
    "shop",
    "partner",
    PAIR.certificate.encode(),
    PAIR.key.encode(),
    ROOT.pem.encode(),
    ROOT.crl().encode(),
)
MUTUAL = TrafficPolicy(tls=ClientTls("MUTUAL", credential=("shop", "partner")))


def service(policy: TrafficPolicy) -> Service:
    ports = (ServicePort(443, "https", "HTTP"), ServicePort(80, "http", "HTTP"))
    return Service("a.test", "a", "shop", ports, resolution="DNS", port_policies={443: policy})


MESH = Mesh("cluster.local", services=(service(MUTUAL),), credentials=(WHOLE,))


def test_secrets_that_our_own_proxy_reads() -> None:
    pair, roots = map(secret, credentials.secrets(WHOLE))
    assert (pair.name, roots.name) == (
        "kubernetes://shop/partner", "kubernetes://shop/partner-cacert",
    )  # fmt: skip
    assert pair.certificate is not None and roots.validation is not None
    assert pair.certificate.private_key.data == PAIR.key.encode()
    assert roots.validation.crl is not None
    assert credentials.secrets(Credential("shop", "empty")) == ()


def test_a_key_is_not_printed() -> None:
    assert PAIR.key.splitlines()[1] not in repr(MESH)


def test_tls_names_them() -> None:
    assert MUTUAL.tls is not None
    found = upstream(tls.upstream_outside(MUTUAL.tls, "api.test", ()), "s")
    assert found is not None
    own, roots = found.common.certificate_sds, found.common.validation_sds
    assert own is not None and own.name == "kubernetes://shop/partner"
    assert roots is not None and roots.name == "kubernetes://shop/partner-cacert"
    assert found.common.validation is not None
    assert [one.matcher.value for one in found.common.validation.match_sans] == ["api.test"]


@pytest.mark.parametrize(("namespace", "served"), [("shop", 2), ("default", 0)])
def test_only_the_namespace_of_a_secret_gets_it(namespace: str, served: int) -> None:
    assert len(credentials.of_services(MESH, namespace)) == served


def test_a_secret_that_no_service_names_is_not_served() -> None:
    mesh = Mesh("cluster.local", services=(service(TrafficPolicy()),), credentials=(WHOLE,))
    assert credentials.of_services(mesh, "shop") == ()
    assert not credentials.differs(mesh.services[0])


def test_others_reach_nobody_and_never_in_plain_text() -> None:
    (seen,) = MESH.services
    assert credentials.differs(seen)
    assert credentials.shut(seen, "shop") == seen
    mesh = Mesh("cluster.local", services=(credentials.shut(seen, "default"),))
    found = {cluster.name: cluster for cluster, _ in clusters.outbound(mesh)}
    closed = found["outbound|443||a.test"]
    assert not closed.load_assignment.endpoints and not closed.HasField("transport_socket")
    assert found["outbound|80||a.test"].load_assignment.endpoints  # it has no credential
