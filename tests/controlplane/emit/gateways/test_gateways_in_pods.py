"""A gateway's proxy in a pod: known by its pod's labels, at its Service's target ports, with keys
only as its pod's service account."""

from __future__ import annotations

import json

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.snapshot import Draft
from controlplane.translate import build
from tests.support.pki import Authority

ROOT = Authority()
TEXT = """
apiVersion: v1
kind: Pod
metadata:
  name: edge-7d9-x
  namespace: istio-system
  labels: {istio: ingressgateway, app: edge}
spec:
  serviceAccountName: edge
  containers: [{name: proxy, ports: [{name: http2, containerPort: 8080}]}]
status: {phase: Running, podIP: 10.0.0.7, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: istio-system}
spec:
  type: LoadBalancer
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80, targetPort: http2}, {name: https, port: 443, targetPort: 8443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [a.com]
    tls: {mode: SIMPLE, credentialName: web}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: istio-system}
spec: {hosts: ["a.com"], gateways: [web], http: [{directResponse: {status: 200}}]}
"""


def drafted(node: Node) -> Draft:
    pair = ROOT.issue(dns=("a.com",))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web", "namespace": "istio-system"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    }
    parsed = parse(f"{TEXT}---\n{json.dumps(secret)}", "a.yaml")
    assert not parsed.has_errors, parsed.statuses
    inventory = Inventory()
    inventory.replace(Origin.file("a.yaml"), parsed.objects)
    mesh, statuses = build(inventory.snapshot(), "cluster.local")
    assert not [one for one in statuses if one.severity == "error"]
    return emit(mesh, node)


def node(account: str = "edge", pod: str = "edge-7d9-x") -> Node:
    labels = {"app": "own-word"}
    return Node("router~x", "istio-system", "edge", account, labels=labels, pod=pod)


def test_it_listens_at_the_target_ports_of_the_service_before_it() -> None:
    draft = drafted(node())
    assert {one.name for one in draft.listeners} == {"0.0.0.0_8080", "0.0.0.0_8443"}
    assert [one.name for one in draft.secrets] == ["kubernetes://istio-system/web"]


def test_another_service_account_gets_no_keys() -> None:
    draft = drafted(node(account="thief"))
    assert not draft.secrets


def test_a_pod_that_nobody_knows_is_not_chosen_by_its_own_word() -> None:
    assert not drafted(node(pod="edge-7d9-gone")).listeners
