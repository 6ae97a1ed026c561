"""A moment of a conformance test: its objects, translated, and what proxies get of it.

Real ports stand behind those of listeners by a Service before each gateway's proxy, as in a
cluster. Resources of many moments go into one bootstrap, so each has names of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from google.protobuf import json_format

from controlplane.emit import envoy
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.mesh.scopes import GATEWAY_NAME
from controlplane.snapshot import Draft
from controlplane.translate import build
from tests.support.ports import Reservation

Document = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

CLASS = "weft"
API = "gateway.networking.k8s.io"


def documents(text: str) -> list[Document]:
    """Of a manifest of the suite, with its placeholders filled in."""
    text = text.replace("{GATEWAY_CLASS_NAME}", CLASS)
    text = text.replace("PLACEHOLDER_UNUSABLE_ADDRS", "192.0.2.1")
    text = text.replace("PLACEHOLDER_USABLE_ADDRS", "127.0.0.1")
    text = text.replace("{GATEWAY_CONTROLLER_NAME}", "weft.dev/gateway-controller")
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def key_of(document: Document) -> Key:
    metadata = document["metadata"]
    return metadata.get("namespace", "default"), metadata["name"]


@dataclass(slots=True)
class Scene:
    """backends: the port of each Deployment, by key. prefix: begins the names of its resources."""

    prefix: str
    objects: list[Document]
    backends: Mapping[Key, int]
    reservation: Reservation
    ports: dict[tuple[Key, int], int] = field(default_factory=dict)
    made: list[Draft] = field(default_factory=list)
    _mesh: list[Mesh] = field(default_factory=list)

    @property
    def mesh(self) -> Mesh:
        if not self._mesh:
            self._mesh.append(self._build())
        return self._mesh[0]

    def _build(self) -> Mesh:
        every = [*self.objects, *self._endpoints(), *self._proxies()]
        parsed = parse("\n---\n".join(map(json.dumps, every)), self.prefix)
        inventory = Inventory()
        inventory.replace(Origin.file(self.prefix), parsed.objects, parsed.statuses)
        return build(inventory.snapshot(), "cluster.local")[0]

    def of(self, kind: str) -> list[Document]:
        return [one for one in self.objects if one["kind"] == kind]

    # ------------------------------------------------------------------ surroundings

    def _endpoints(self) -> Iterator[Document]:
        """Each Service has the Deployments that it selects."""
        for service in self.of("Service"):
            selector = service["spec"].get("selector")
            namespace, name = key_of(service)
            for index, deployment in enumerate(self.of("Deployment") if selector else ()):
                labels = deployment["spec"]["template"]["metadata"]["labels"]
                if key_of(deployment)[0] == namespace and selector.items() <= labels.items():
                    yield _slice(service, f"{name}-{index}", self.backends[key_of(deployment)])

    def _proxies(self) -> Iterator[Document]:
        """A workload with the label of each Gateway, and a Service with real ports before it."""
        for gateway in self.of("Gateway"):
            key = key_of(gateway)
            ports = sorted(self._ports_of(key, gateway))
            for port in ports:
                self.ports.setdefault((key, port), self.reservation.port())
            yield from _proxy(key, {port: self.ports[key, port] for port in ports})

    def _ports_of(self, key: Key, gateway: Document) -> set[int]:
        found = {listener["port"] for listener in gateway["spec"]["listeners"]}
        for one in self.of("ListenerSet"):
            parent = one["spec"]["parentRef"]
            if (parent.get("namespace", key_of(one)[0]), parent["name"]) == key:
                found |= {listener["port"] for listener in one["spec"]["listeners"]}
        return found

    # ------------------------------------------------------------------ what proxies get

    def gateway(self, key: Key) -> Draft:
        labels = {GATEWAY_NAME: key[1]}
        node = Node(f"router~{key[1]}", key[0], _workload(key[1]), labels=labels)
        return envoy.emit(self.mesh, node)

    def sidecar(self, namespace: str, port: int) -> Draft:
        return envoy.emit(self.mesh, Node("sidecar~client", namespace, http_proxy_port=port))

    def resources(self, draft: Draft, label: str) -> Static:
        return _Inlined(draft, f"{self.prefix}/{label}/").made()


def _slice(service: Document, name: str, port: int) -> Document:
    namespace, service_name = key_of(service)
    ports = [
        {"name": one.get("name", ""), "port": port, "protocol": one.get("protocol", "TCP")}
        for one in service["spec"]["ports"]
    ]
    labels = {"kubernetes.io/service-name": service_name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": ports,
    }


def _workload(gateway: str) -> str:
    return f"proxy-{gateway[:200]}"


def _proxy(key: Key, ports: Mapping[int, int]) -> Iterator[Document]:
    metadata = {"name": _workload(key[1]), "namespace": key[0]}
    labels = {GATEWAY_NAME: key[1]}
    yield {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": metadata,
        "spec": {"address": "127.0.0.1", "labels": labels, "serviceAccount": "default"},
    }
    listed = [
        {"name": f"tcp-{port}", "port": port, "targetPort": target}
        for port, target in ports.items()
    ]
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": listed},
    }


# --------------------------------------------------------------------------- a bootstrap


@dataclass(slots=True)
class Static:
    """static_resources of a bootstrap."""

    listeners: list[Document] = field(default_factory=list)
    clusters: list[Document] = field(default_factory=list)
    secrets: list[Document] = field(default_factory=list)

    def add(self, other: Static) -> None:
        self.listeners += other.listeners
        self.clusters += other.clusters
        self.secrets += other.secrets

    def bootstrap(self) -> Document:
        resources = {
            "listeners": self.listeners,
            "clusters": self.clusters,
            "secrets": self.secrets,
        }
        return {"static_resources": resources}


class _Inlined:
    """Resources of xDS without a control plane: routes, endpoints and secrets stand in place."""

    def __init__(self, draft: Draft, prefix: str) -> None:
        self._prefix = prefix
        self._clusters = _by_name(draft.clusters)
        self._endpoints = {one["clusterName"]: one for one in _plain(draft.endpoints)}
        self._routes = _by_name(draft.routes)
        self._listeners = _plain(draft.listeners)
        self._secrets = _by_name(draft.secrets)
        self._used: set[str] = set()

    def made(self) -> Static:
        listeners = [self._inlined(one) for one in self._listeners]
        for listener in listeners:
            listener["name"] = self._prefix + listener["name"]
        clusters = [self._cluster(name) for name in sorted(self._used & self._clusters.keys())]
        secrets = [self._inlined(self._secrets[name]) for name in sorted(self._secrets)]
        return Static(listeners, clusters, secrets)

    def _inlined(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._inlined(item) for item in value]
        if isinstance(value, str):
            return self._named(value)
        if not isinstance(value, dict):
            return value
        if "rds" in value:
            value = dict(value)
            routes = self._routes[value.pop("rds")["routeConfigName"]]
            value["routeConfig"] = routes | {"validateClusters": False}
        if "sdsConfig" in value:
            value = {"name": value["name"]}
        return {key: self._inlined(item) for key, item in value.items()}

    def _named(self, text: str) -> str:
        if text in self._clusters or text.startswith("outbound|"):
            self._used.add(text)
            return self._prefix + text
        return self._prefix + text if text in self._secrets else text

    def _cluster(self, name: str) -> Document:
        cluster = dict(self._clusters[name])
        if "edsClusterConfig" in cluster:
            del cluster["edsClusterConfig"]
            cluster["type"] = "STATIC"
            cluster["loadAssignment"] = self._endpoints[name]
            if not self._endpoints[name].get("endpoints"):
                cluster.pop("transportSocket", None)
        found: Document = self._inlined(cluster)
        return found


def _plain(messages: Iterable[Any]) -> list[Document]:
    return [json_format.MessageToDict(one) for one in messages]


def _by_name(messages: Iterable[Any]) -> dict[str, Document]:
    return {one["name"]: one for one in _plain(messages)}
