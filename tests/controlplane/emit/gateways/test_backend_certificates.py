"""The certificate that a gateway of Gateway API shows to backends that speak TLS."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh, Status
from controlplane.snapshot import check
from controlplane.translate import build
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS
from proxy.config.decode import decode
from tests.support.judge import judging
from tests.support.mesh import TRUST_DOMAIN, node
from tests.support.pki import Authority

ROOT = Authority()
EDGE = node("messenger-1", "messenger", labels={"app": "me"})
CLUSTER = "outbound|443||web.default.svc.cluster.local"
SECRET = "kubernetes://default/shown"
TEXT = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-1, labels: {gateway.networking.k8s.io/gateway-name: edge}}
spec: {address: 127.0.0.1, serviceAccount: messenger}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: edge}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: edge
  tls: {backend: {clientCertificateRef: {name: shown}}}
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.9, ports: [{name: https-app, port: 443, appProtocol: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.internal, wellKnownCACertificates: System}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 443}]}]
"""


def built(with_secret: bool = True) -> tuple[Mesh, tuple[Status, ...]]:
    pair = ROOT.issue(dns=("edge.test",))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shown"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    }
    text = f"{TEXT}\n---\n{json.dumps(secret)}" if with_secret else TEXT
    parsed = parse(text, "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), TRUST_DOMAIN)


def shown_by(mesh: Mesh, who: Node) -> list[str]:
    """The names of the certificates that it shows."""
    draft = emit(mesh, who)
    assert check(draft) == ()
    (cluster,) = (one for one in draft.clusters if one.name == CLUSTER)
    assert cluster.type == Cluster.EDS
    context = UpstreamTlsContext()
    assert cluster.transport_socket.typed_config.Unpack(context)
    common = context.common_tls_context
    assert common.validation_context.match_typed_subject_alt_names
    return [one.name for one in common.tls_certificate_sds_secret_configs]


def test_a_gateway_shows_its_certificate_and_nobody_else_does() -> None:
    mesh, statuses = built()
    assert [one for one in statuses if one.severity != "info"] == []
    assert shown_by(mesh, EDGE) == [SECRET]
    assert SECRET in {one.name for one in emit(mesh, EDGE).secrets}
    assert shown_by(mesh, node("other-1")) == []


def test_who_is_not_proven_to_be_the_gateway_gets_nothing() -> None:
    mesh, _ = built()
    stranger = replace(EDGE, service_account="stranger")
    assert shown_by(mesh, stranger) == []
    assert SECRET not in {one.name for one in emit(mesh, stranger).secrets}


def test_a_certificate_that_is_not_there_is_told() -> None:
    mesh, statuses = built(with_secret=False)
    assert "InvalidClientCertificateRef" in {one.code for one in statuses}
    assert shown_by(mesh, EDGE) == []


def test_the_cache_and_wefts_proxy_agree() -> None:
    mesh, _ = built()
    found = SnapshotCache(mesh, lambda _: ()).snapshot(EDGE)
    whole = emit(mesh, EDGE).encode()[CDS]
    assert {name: one.body for name, one in found.of(CDS).items()} == {
        name: one.body for name, one in whole.items()
    }
    for cluster in emit(mesh, EDGE).clusters:
        decode(CDS, cluster.SerializeToString())


async def test_envoy_takes_it(tmp_path: Path) -> None:
    async with judging(tmp_path, delta=True) as judge:
        assert await judge.judge(built()[0]) == {}
