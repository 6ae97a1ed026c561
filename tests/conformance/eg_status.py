"""Envoy Gateway's inputs of Gateway API with the status that it gives each object.

Only inputs of the API itself; those with Envoy Gateway's own policies and backends are about these.
What its tests add to every input stands in `_around`: some services, and a proxy for each Gateway.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cryptography.utils import CryptographyDeprecationWarning

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.scopes import GATEWAY_NAME
from controlplane.translate import build
from tests.conformance.gateway_status import faults
from tests.conformance.suite import Result

Document = dict[str, Any]
_GIVEN = {
    "gateways": "Gateway",
    "httpRoutes": "HTTPRoute",
    "grpcRoutes": "GRPCRoute",
    "tlsRoutes": "TLSRoute",
    "tcpRoutes": "TCPRoute",
    "listenerSets": "ListenerSet",
    "backendTLSPolicies": "BackendTLSPolicy",
}
_BESIDE = {"services", "endpointSlices", "secrets", "configMaps", "namespaces", "referenceGrants"}
_CLASS = "envoy-gateway-class"


def run(cases: Path) -> Iterator[Result]:
    with warnings.catch_warnings():
        # Of serial numbers in some of the certificates.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield from _run(cases)


def _run(cases: Path) -> Iterator[Result]:
    for source in sorted(cases.glob("gatewayapi/testdata/*.in.yaml")):
        given = yaml.load(source.read_text(), yaml.CSafeLoader)
        golden = source.with_name(source.name.replace(".in.", ".out."))
        if given.keys() <= {*_GIVEN, *_BESIDE} and golden.exists():
            yield from _judged(source.name.removesuffix(".in.yaml"), given, golden)


def _judged(name: str, given: Document, golden: Path) -> Iterator[Result]:
    objects = [one for items in given.values() for one in items or ()]
    for one in given.get("backendTLSPolicies") or ():
        one["apiVersion"] = "gateway.networking.k8s.io/v1"  # they are read whatever stands there
    inventory = Inventory()
    for index, one in enumerate([*objects, *_around(objects)]):
        parsed = parse(json.dumps(one, default=str), f"{index:03}")
        inventory.replace(Origin.file(f"{index:03}"), parsed.objects, parsed.statuses)
    mesh = build(inventory.snapshot(), "cluster.local")[0]
    told = {(one.kind, one.namespace, one.name): one for one in mesh.conditions}
    wanted = yaml.load(golden.read_text(), yaml.CSafeLoader)
    for key, kind in _GIVEN.items():
        for one in wanted.get(key) or ():
            metadata = one["metadata"]
            place = (kind, metadata.get("namespace", "default"), metadata["name"])
            found = told.get(place, ObjectConditions(*place))
            wrong = list(faults(one.get("status") or {}, found))
            yield Result(f"{name}/{kind} {place[1]}/{place[2]}", "; ".join(wrong[:3]))


def _around(objects: list[Document]) -> Iterator[Document]:
    yield {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": _CLASS},
        "spec": {"controllerName": "weft.dev/gateway-controller"},
    }
    have = {(one["kind"], one["metadata"]["name"]) for one in objects}
    ports = [{"name": "http", "port": 8080}, {"name": "tls", "port": 8443}]
    ports.append({"name": "tcp", "port": 8163})
    names = [f"service-{number}" for number in range(1, 5)]
    for name in [*names, "mirror-service", *(f"mirror-{one}" for one in names)]:
        if ("Service", name) not in have:
            metadata = {"name": name, "namespace": "default"}
            kind = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
            yield {**kind, "spec": {"ports": ports}}
    for index, one in enumerate(objects):
        if one["kind"] == "Gateway":
            metadata = {"name": f"proxy-{index}", "namespace": one["metadata"]["namespace"]}
            labels = {GATEWAY_NAME: one["metadata"]["name"]}
            yield {
                "apiVersion": "networking.istio.io/v1",
                "kind": "WorkloadEntry",
                "metadata": metadata,
                "spec": {"address": "10.0.0.1", "labels": labels},
            }
