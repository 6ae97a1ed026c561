"""Istio's inputs of Gateway API with the status that istiod gives each object: the same conditions.

Type, status and reason of every condition, and how many routes each listener has; messages are not
compared. Then what istiod makes of each input is held against what we do (`gateway_conversions`).
Istio's tests have services, Secrets and ConfigMaps that stand in their code: `_SERVICES` and what
follows. A Service also has the ports of `_NAMED`, which routes name and theirs lack, since
Istio does not look whether a port is there. Names with capitals, which no API server would hold,
are read in lower case. Objects of kinds that Weft does not have (inference pools) are left out.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import Condition, ObjectConditions, Parent
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.conformance.gateway_conversions import converted, judged
from tests.conformance.suite import Result
from tests.support.pki import Authority, KeyPair

Document = dict[str, Any]
_KINDS = {
    "GatewayClass",
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "BackendTLSPolicy",
}
_NAME = re.compile(r"^  name: .*$", re.MULTILINE)
"""In an object's metadata."""
_API = "gateway.networking.k8s.io"
_PORTS = {"http": 80, "tcp": 34000, "tcp-other": 34001}
_SERVICES: Mapping[str, str] = {
    "istio-system": "istio-ingressgateway istiod httpbin echo",
    "default": "httpbin httpbin-second httpbin-wildcard foo-svc httpbin-other example echo svc4 "
    "httpbin-zero httpbin-mirror httpbin-foo httpbin-alt httpbin-bad echo-1 echo-2 echo-port "
    "not-found",
    "apple": "httpbin-apple",
    "banana": "httpbin-banana",
    "cert": "httpbin",
    "service": "my-svc",
    "allowed-1": "a-example b-example svc2 svc1",
    "allowed-2": "a-example svc2 svc3",
    "group-namespace1": "httpbin",
    "group-namespace2": "httpbin",
}
_NAMED: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("istio-system", "istiod"): (15012, 15017),
    ("default", "httpbin"): (443,),
    ("default", "httpbin-foo"): (443,),
    ("default", "httpbin-zero"): (8080,),
    ("default", "foo-svc"): (8000,),
    ("default", "echo-1"): (8080,),
}
_HOSTS = (("istio-system", "example.com"), ("default", "google.com"))
_PAIRS = (
    ("istio-system", "my-cert-http"),
    ("istio-system", "my-cert-http2"),
    ("ns2", "ns2-cert"),
    ("ns3", "ns3-cert"),
    ("ns4", "ns4-cert"),
    ("cert", "cert"),
    ("bookinfo", "bookinfo-secret"),
    ("istio-system", "my-cert"),
)
_ROOTS = (("istio-system", "my-cert-http"), ("default", "auth-cert"))


def run(cases: Path) -> Iterator[Result]:
    authority = Authority()
    around = list(_around(authority.pem, authority.issue(dns=("a.example",))))
    for golden in sorted(cases.glob("gateway/testdata/*.status.yaml.golden")):
        name = golden.name.removesuffix(".status.yaml.golden")
        source = golden.with_name(f"{name}.yaml")
        if source.exists():
            yield from _judged(name, source, golden, around)
            theirs = converted(golden.with_name(f"{name}.yaml.golden").read_text())
            text = _NAME.sub(lambda found: found[0].lower(), source.read_text())
            yield from judged(name, _built(text, around), _built(theirs, around))


def _judged(name: str, source: Path, golden: Path, around: list[Document]) -> Iterator[Result]:
    text = _NAME.sub(lambda found: found[0].lower(), source.read_text())
    mesh = _built(text, around)
    told = {(one.kind, one.namespace, one.name): one for one in mesh.conditions}
    for document in yaml.load_all(golden.read_text(), yaml.CSafeLoader):
        if document and document["kind"] in _KINDS and document["apiVersion"].startswith(_API):
            kind, metadata = document["kind"], document["metadata"]
            key = (kind, metadata.get("namespace", ""), metadata["name"].lower())
            found = told.get(key, ObjectConditions(*key))
            wrong = list(faults(document.get("status") or {}, found))
            label = f"{name}/{kind} {key[1]}/{key[2]}"
            yield Result(label, "; ".join(wrong[:3]))


def _built(text: str, around: list[Document]) -> Mesh:
    inventory = Inventory()
    for label, manifests in (("around", "\n---\n".join(map(json.dumps, around))), ("a", text)):
        parsed = parse(manifests, label)
        inventory.replace(Origin.file(label), parsed.objects, parsed.statuses)
    return build(inventory.snapshot(), "cluster.local")[0]


# --------------------------------------------------------------------------- judgement


def faults(status: Document, found: ObjectConditions) -> Iterator[str]:
    yield from _missing(status.get("conditions", ()), found.conditions, "")
    have = {one.name: one for one in found.listeners}
    for listener in status.get("listeners", ()):
        name = listener["name"]
        if name not in have:
            yield f"nothing is said of the listener {name}"
            continue
        if have[name].attached_routes != listener["attachedRoutes"]:
            count = listener["attachedRoutes"]
            yield f"{name} has {have[name].attached_routes} routes, not {count}"
        yield from _missing(listener["conditions"], have[name].conditions, name)
    parents = [(one, "parentRef") for one in status.get("parents", ())]
    parents += [(one, "ancestorRef") for one in status.get("ancestors", ())]
    for parent, key in parents:
        reference, whole = parent[key], key == "ancestorRef"
        of = [one.conditions for one in found.parents if _is_parent(one.parent, reference, whole)]
        if not of:
            yield f"nothing is said of the parent {reference}"
        for conditions in of[:1]:
            yield from _missing(parent["conditions"], conditions, str(reference["name"]))


def _is_parent(parent: Parent, reference: Document, whole: bool) -> bool:
    """A policy tells of whole Gateways, where others tell of their listeners."""
    names = (parent.name, parent.section_name, parent.port)
    section = reference.get("sectionName", "") if parent.section_name or not whole else ""
    wanted = (reference["name"], section, reference.get("port"))
    namespace = reference.get("namespace", "")
    return names == wanted and (not namespace or parent.namespace in ("", namespace))


def _missing(wanted: Iterable[Document], found: Iterable[Condition], of: str) -> Iterator[str]:
    have = {one.type: one for one in found}
    for one in wanted:
        got = have.get(one["type"])
        if got is None or (got.status, got.reason) != (one["status"], one["reason"]):
            told = f"{got.status} {got.reason}" if got is not None else "nothing"
            text = f"{one['status']} {one['reason']} ({one.get('message', '')})"
            yield f"{of} {one['type']} should be {text}, is {told}"


# --------------------------------------------------------------------------- surroundings


def _around(roots: str, pair: KeyPair) -> Iterator[Document]:
    for namespace, names in _SERVICES.items():
        for name in names.split():
            yield _service(namespace, name)
    for namespace, host in _HOSTS:
        ports = [
            {"number": number, "name": key, "protocol": "HTTP" if key == "http" else "TCP"}
            for key, number in _PORTS.items()
        ]
        spec = {"hosts": [host], "ports": ports, "resolution": "DNS"}
        yield _object("networking.istio.io/v1", "ServiceEntry", namespace, host, spec=spec)
    for namespace, name in _PAIRS:
        data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": roots}
        coded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        yield _object("v1", "Secret", namespace, name, data=coded)
    broken = {"tls.crt": "SGVsbG8gd29ybGQK", "tls.key": "SGVsbG8gd29ybGQK"}
    yield _object("v1", "Secret", "istio-system", "malformed", data=broken)
    for namespace, name in _ROOTS:
        yield _object("v1", "ConfigMap", namespace, name, data={"ca.crt": roots})
    for namespace in ("istio-system", "default"):
        yield _object("v1", "ConfigMap", namespace, "malformed", data={"not-ca.crt": "hello"})
    wrong = {"ca.crt": "hello"}
    yield _object("v1", "ConfigMap", "istio-system", "malformed-trustbundle", data=wrong)


def _service(namespace: str, name: str) -> Document:
    ports = [{"name": key, "port": number} for key, number in _PORTS.items()]
    if name == "istio-ingressgateway":
        ports.append({"name": "https", "port": 443})
    named = _NAMED.get((namespace, name), ())
    ports += ({"name": "tls" if one == 443 else f"http-{one}", "port": one} for one in named)
    spec = {"selector": {"app": name}, "ports": ports}
    return _object("v1", "Service", namespace, name, spec=spec)


def _object(version: str, kind: str, namespace: str, name: str, **rest: Any) -> Document:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
