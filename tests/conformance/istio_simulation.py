"""Istio's simulated calls: the listener, filter chain, virtual host and cluster that each must
meet at a gateway or at a sidecar that intercepts connections.

A proxy is the workload at 1.1.1.1, as in Istio's tests; Secrets that a configuration names are
there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.emit import envoy
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.snapshot import Draft
from controlplane.translate import build
from tests.conformance.simulated import Call, Met, met
from tests.conformance.suite import Result
from tests.support.pki import Authority

Document = dict[str, Any]
_CREDENTIAL = re.compile(r'(?:credentialName|secretName): *"?([\w.-]+)"?')
_ADDRESS = "1.1.1.1"
_OF_THE_TESTS_CODE = {
    "TestTLSRouteTermination": """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: passthrough, namespace: default}
spec:
  hosts: [example.com]
  gateways: [istio-system/gateway]
  tls:
  - match: [{sniHosts: [example.com]}]
    route: [{destination: {host: backend.default.svc.cluster.local, port: {number: 8080}}}]
"""
}
"""What of a configuration stands in code of the test and not in its text."""


def run(cases: Path) -> Iterator[Result]:
    secret = _secret()
    for row in json.loads((cases / "cases.shared.json").read_text()):
        if row["calls"]:
            draft = _draft(row, secret)
            mode = "gateway" if _is_router(row) else "outbound"
            for index, call in enumerate(row["calls"]):
                label = f"{row['test']}/{row['name']}/{call.get('Name', '')} #{index}"
                found = met(draft, Call.of(call["Call"], mode))
                yield Result(label, "; ".join(_faults(found, call["Result"])))
    for row in json.loads((cases / "sidecar_routes.shared.json").read_text()):
        label = f"routes/{row['name']}/{row['variant']}"
        yield Result(label, "; ".join(_route_faults(row)))


def _faults(found: Met, wanted: Document) -> Iterator[str]:
    """A field that is not given does not matter, unless the match is strict; an error always."""
    if wanted.get("Skip"):
        return
    for name in Met.__slots__:
        value, got = _short(wanted.get(name) or ""), _short(getattr(found, name))
        if (value or wanted.get("StrictMatch") or name == "Error") and got != value:
            yield f"{name} is {got!r}, not {value!r}"


def _route_faults(row: Document) -> Iterator[str]:
    """Virtual hosts by name, without the port, with the clusters of their routes; None: it must
    not be there."""
    documents = [_named_ports(one) for one in yaml.load_all(row["config"], yaml.CSafeLoader) if one]
    texts = [yaml.safe_dump_all(documents)]
    mesh = build(_inventory(texts).snapshot(), "cluster.local")[0]
    node = Node("sidecar~g", row["proxyNamespace"], "proxy", interception="REDIRECT")
    tables = {table.name: table for table in envoy.emit(mesh, node).routes}
    hosts = {
        host.name.rpartition(":")[0] or host.name: _clusters(host)
        for host in tables[row["routeName"]].virtual_hosts
    }
    for name, clusters in row["expectedVirtualHosts"].items():
        if hosts.get(name) != clusters:
            yield f"{name} has {hosts.get(name)}, not {clusters}"


def _clusters(host: VirtualHost) -> list[str]:
    """Without those of retries' variants, which go to the same."""
    return list(dict.fromkeys(route.route.cluster for route in host.routes if route.route.cluster))


def _named_ports(document: Document) -> Document:
    """Istio's fake registry takes Services whose ports share a name; an API server does not."""
    if document["kind"] == "Service":
        for port in document["spec"]["ports"]:
            port["name"] = f"{port['name']}-{port['port']}"
    return document


# --------------------------------------------------------------------------- configuration


def _is_router(row: Document) -> bool:
    return (row["proxy"] or {}).get("Type") == "router"


def _draft(row: Document, secret: Document) -> Draft:
    proxy = row["proxy"] or {}
    metadata = proxy.get("Metadata") or {}
    router = _is_router(row)
    namespace = metadata.get("Namespace", "istio-system" if router else "default")
    labels = proxy.get("Labels") or metadata.get("Labels") or {}
    spec = {"address": _ADDRESS, "labels": labels, "serviceAccount": "default"}
    workload = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "proxy", "namespace": namespace},
        "spec": spec,
    }
    text = f"{row['config'] or ''}\n---\n{row['kubeConfig'] or ''}"
    texts = [text, json.dumps(workload), *_mesh_config(row)]
    texts.append(_OF_THE_TESTS_CODE.get(row["test"], ""))
    places = sorted({namespace, "default", "alpha", "beta"})
    names = sorted(set(_CREDENTIAL.findall(text)))
    texts += [
        json.dumps(secret | {"metadata": {"name": name, "namespace": place}})
        for name in names
        for place in places
    ]
    mesh = build(_inventory(texts).snapshot(), "cluster.local")[0]
    node = Node("router~g", namespace, "proxy", labels=labels)
    if not router:
        node = replace(node, id="sidecar~g", interception="REDIRECT")
    return envoy.emit(mesh, node)


def _inventory(texts: list[str]) -> Inventory:
    inventory = Inventory()
    for index, one in enumerate(texts):
        parsed = parse(one, f"{index:03}")
        inventory.replace(Origin.file(f"{index:03}"), parsed.objects, parsed.statuses)
    return inventory


def _mesh_config(row: Document) -> Iterator[str]:
    if (config := row["options"].get("MeshConfig")) is not None:
        mode = config["OutboundTrafficPolicy"]["Mode"]
        data = {"mesh": yaml.safe_dump({"outboundTrafficPolicy": {"mode": mode}})}
        metadata = {"name": "istio", "namespace": "istio-system"}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        yield json.dumps(made)


def _secret() -> Document:
    authority = Authority()
    pair = authority.issue(dns=("example.com",))
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "data": data}


def _short(cluster: str) -> str:
    """Istio's tests have no domain behind a service's name."""
    return cluster.removesuffix(".svc.cluster.local")
