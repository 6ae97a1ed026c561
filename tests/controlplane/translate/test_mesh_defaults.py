"""What the MeshConfig says for all; the golden case mesh_defaults has the rest."""

from __future__ import annotations

import pytest
import yaml

from controlplane.authz.inquiry import Inquiry
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from controlplane.translate.memo import Memo

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /own}}], retries: {attempts: 1}, route: [{destination: {host: web}}]}
  - {route: [{destination: {host: web}}]}
"""


def mesh_config(text: str) -> str:
    metadata = {"name": "istio", "namespace": "istio-system"}
    tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}
    return yaml.safe_dump(tree)


def built(*texts: str, memo: Memo | None = None) -> Mesh:
    parsed = parse("\n---\n".join(texts), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    return build(Snapshot(parsed.objects), "cluster.local", memo)[0]


def test_gateways_retry_as_the_mesh_does() -> None:
    found = built(SERVICE, EDGE, mesh_config("defaultHttpRetryPolicy: {attempts: 5}"))
    (gateway,) = found.gateways
    (host,) = gateway.servers[0].virtual_hosts
    assert [rule.retry.attempts if rule.retry else None for rule in host.rules] == [1, 5]
    (plain,) = built(SERVICE, EDGE).gateways
    assert plain.servers[0].virtual_hosts[0].rules[1].retry is None


def test_a_client_that_speaks_for_itself_is_not_upgraded() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}}
"""
    upgrade = mesh_config("h2UpgradePolicy: UPGRADE")
    assert built(SERVICE, upgrade).services[0].policy.pool.http2 is True
    assert built(SERVICE, rule, upgrade).services[0].policy.pool.http2 is None


def test_settings_that_come_and_go_leave_nothing_behind() -> None:
    memo, slow = Memo(), mesh_config("connectTimeout: 30s")
    before = built(SERVICE, memo=memo)
    assert built(SERVICE, slow, memo=memo).services[0].policy.pool.connect_timeout_s == 30
    assert built(SERVICE, memo=memo) == before


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("defaultServiceExportTo: ['*', x]", "defaultServiceExportTo[0]"),
        ("defaultVirtualServiceExportTo: ['~']", "defaultVirtualServiceExportTo[0]"),
        ("connectTimeout: 0s", "connectTimeout"),
        ("h2UpgradePolicy: DEFAULT", "h2UpgradePolicy"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(text: str, path: str) -> None:
    parsed = parse(mesh_config(text), "m.yaml")
    (status,) = (one for one in parsed.statuses if one.severity == "error")
    assert f"mesh.{path}: " in status.message


@pytest.mark.parametrize(
    ("mode", "path", "seen"),
    [
        ("BASE", "/a//./b%2fc", "/a//b%2fc"),
        ("NONE", "/a//./b", "/a//./b"),
        ("MERGE_SLASHES", "/a//./b%2Fc?x=//", "/a/b%2Fc"),
        ("DECODE_AND_MERGE_SLASHES", "/a%2f%5Cb/../c", "/a/c"),
        ("DEFAULT", "/a/../b", "/b"),
    ],
)
def test_paths_are_looked_at_as_proxies_clean_them(mode: str, path: str, seen: str) -> None:
    found = built(mesh_config(f"pathNormalization: {{normalization: {mode}}}"))
    asked = Inquiry(path=path, normalization=found.security.normalization)
    assert asked.bare_path == seen
    assert bool(found.patches) == (mode not in ("BASE", "DEFAULT"))


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  CLASS
  defaultBackend: {service: {name: web, port: {number: 80}}}
"""


@pytest.mark.parametrize(
    ("settings", "classed", "served"),
    [
        ("{}", "", True),
        ("ingressControllerMode: 'OFF'", "ingressClassName: istio", False),
        ("ingressControllerMode: STRICT", "", False),
        ("ingressControllerMode: STRICT", "ingressClassName: istio", True),
        ("ingressControllerMode: DEFAULT", "", True),
        ("ingressClass: mine", "ingressClassName: mine", True),
        ("ingressClass: mine", "ingressClassName: istio", False),
        ("ingressClass: mine", "ingressClassName: weft", True),
    ],
)
def test_the_mesh_says_which_ingresses_are_ours(settings: str, classed: str, served: bool) -> None:
    found = built(SERVICE, INGRESS.replace("CLASS", classed), mesh_config(settings))
    assert bool(found.gateways) == served


def test_the_mesh_says_who_serves_ingresses() -> None:
    text = INGRESS.replace("CLASS", "")
    (gateway,) = built(SERVICE, text, mesh_config("ingressSelector: edge")).gateways
    assert gateway.scope.labels == {"istio": "edge"}


def test_gateways_have_the_meshs_limits_of_tls_where_they_name_none() -> None:
    edge = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: a, protocol: HTTPS}
    hosts: [a.test]
    tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}
  - port: {number: 443, name: b, protocol: HTTPS}
    hosts: [b.test]
    tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b, cipherSuites: [AES128-SHA]}
"""
    limits = """
tlsDefaults:
  minProtocolVersion: TLSV1_3
  cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]
  ecdhCurves: [P-256]
"""
    (gateway,) = built(edge, mesh_config(limits)).gateways
    found = [one.tls for one in gateway.servers if one.tls is not None]
    assert [one.ciphers for one in found] == [("ECDHE-RSA-AES256-GCM-SHA384",), ("AES128-SHA",)]
    assert {(one.minimum, one.curves) for one in found} == {("TLSV1_3", ("P-256",))}
    (plain,) = built(edge).gateways
    assert plain.servers[0].tls is not None and plain.servers[0].tls.curves == ()


NAMESPACED = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: %s}}"
IN_SHOP = SERVICE.replace("{name: web}", "{name: web, namespace: shop}")


def test_what_stands_in_a_namespace_that_is_not_discovered_is_not_there() -> None:
    memo, chosen = Memo(), mesh_config("discoverySelectors: [{matchLabels: {team: shop}}]")

    def hosts(*texts: str) -> list[str]:
        return [one.hostname for one in built(*texts, memo=memo).services]

    assert hosts(SERVICE, IN_SHOP) == [
        "web.default.svc.cluster.local",
        "web.shop.svc.cluster.local",
    ]
    assert hosts(SERVICE, IN_SHOP, chosen) == []
    assert hosts(SERVICE, IN_SHOP, chosen, NAMESPACED % "shop") == ["web.shop.svc.cluster.local"]
    assert hosts(SERVICE, IN_SHOP, chosen, NAMESPACED % "other") == []
    assert len(hosts(SERVICE, IN_SHOP)) == 2


def test_a_policy_of_the_root_namespace_counts_whatever_is_discovered() -> None:
    policy = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: %s}
spec: {}
"""
    chosen = mesh_config("discoverySelectors: [{matchLabels: {team: shop}}]")
    found = built(policy % "istio-system", policy % "default", chosen).security.access
    assert [one.namespace for one in found] == ["istio-system"]


def test_ingresses_are_reached_at_the_service_that_is_named() -> None:
    ingress = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
"""
    before = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: istio-system}
spec: {clusterIP: %s, selector: {istio: ingressgateway}, ports: [{name: http, port: 80}]}
"""
    both = (ingress, SERVICE, before % ("one", "10.0.0.1"), before % ("two", "10.0.0.2"))

    def addresses(*texts: str) -> tuple[str, ...] | None:
        found = built(*both, *texts).conditions
        return next(one.addresses for one in found if one.kind == "Ingress")

    assert addresses() == ("10.0.0.1", "10.0.0.2")
    assert addresses(mesh_config("ingressService: two")) == ("10.0.0.2",)


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  ingress:
  - port: {number: 9443, protocol: HTTPS, name: a}
    defaultEndpoint: 127.0.0.1:8080
    tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}
  - port: {number: 9444, protocol: HTTPS, name: b}
    defaultEndpoint: 127.0.0.1:8080
    tls:
      mode: MUTUAL
      tlsCertificates: [{serverCertificate: /r, privateKey: /s}]
      caCertificates: /c
      subjectAltNames: [spiffe://cluster.local/ns/a/sa/b]
      verifyCertificateHash: [E5]
      minProtocolVersion: TLSV1_2
      maxProtocolVersion: TLSV1_2
      cipherSuites: [AES128-SHA]
"""


def test_a_sidecars_own_tls_has_its_limits_else_the_meshs() -> None:
    limits = "tlsDefaults: {minProtocolVersion: TLSV1_3, ecdhCurves: [P-256]}"
    (sidecar,) = built(SIDECAR, mesh_config(limits)).sidecars
    plain, own = (one.tls for one in sidecar.ingress)
    assert plain is not None and own is not None
    assert (plain.minimum, plain.curves, plain.files) == ("TLSV1_3", ("P-256",), (("/a", "/b"),))
    assert (own.minimum, own.maximum, own.ciphers) == ("TLSV1_2", "TLSV1_2", ("AES128-SHA",))
    assert (own.files, own.roots_file) == ((("/r", "/s"),), "/c")
    assert own.subject_alt_names == ("spiffe://cluster.local/ns/a/sa/b",)
    assert own.certificate_hashes == ("E5",)


def test_settings_of_tls_that_come_later_reach_sidecars_that_were_there() -> None:
    memo = Memo()
    for text, least in (("{}", ""), ("tlsDefaults: {minProtocolVersion: TLSV1_3}", "TLSV1_3")):
        (sidecar,) = built(SIDECAR, mesh_config(text), memo=memo).sidecars
        tls = sidecar.ingress[0].tls
        assert tls is not None and tls.minimum == least
