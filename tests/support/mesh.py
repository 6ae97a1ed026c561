"""Small meshes for tests of emission and serving: sensible defaults, one word for each thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controlplane.emit.node import Node
from controlplane.mesh.metering import NOT_METERED, ScopedMetrics
from controlplane.mesh.model import (
    Endpoint,
    InboundPort,
    Mesh,
    Protocol,
    Service,
    ServicePort,
    TlsMode,
    Workload,
)
from controlplane.mesh.scopes import Scope

TRUST_DOMAIN = "cluster.local"


def identity(service_account: str, namespace: str = "default") -> str:
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}"


def endpoint(
    port: int, service_port: int = 8080, *, account: str = "messenger", **facts: Any
) -> Endpoint:
    """A mesh endpoint on 127.0.0.1:`port`; mesh=False for one without a sidecar."""
    facts.setdefault("mesh", True)
    if facts["mesh"]:
        facts.setdefault("identity", identity(account))
    return Endpoint(facts.pop("address", "127.0.0.1"), {service_port: port}, **facts)


def service(
    name: str = "messenger",
    *endpoints: Endpoint,
    port: int = 8080,
    protocol: Protocol = "HTTP",
    namespace: str = "default",
    **facts: Any,
) -> Service:
    """A Kubernetes service with one port and its usual names."""
    full = f"{name}.{namespace}.svc.cluster.local"
    facts.setdefault("ports", (ServicePort(port, "http", protocol),))
    facts.setdefault("aliases", (f"{name}.{namespace}", f"{name}.{namespace}.svc"))
    facts.setdefault("local_aliases", (name,))
    return Service(full, name, namespace, endpoints=endpoints, **facts)


def inbound(
    listen_port: int = 9101,
    app_port: int = 9001,
    mtls: TlsMode = "STRICT",
    protocol: Protocol = "HTTP",
) -> InboundPort:
    return InboundPort("127.0.0.1", listen_port, "127.0.0.1", app_port, protocol, mtls)


def workload(
    name: str = "messenger-1", *ports: InboundPort, account: str = "messenger"
) -> Workload:
    return Workload(name, "default", account, {"app": name}, "127.0.0.1", ports)


def unmetered(mesh: Mesh) -> Mesh:
    """Without Istio's metrics, whose two filters stand in every connection manager of ours."""
    return replace(mesh, metrics=(ScopedMetrics(Scope(), NOT_METERED),))


def mesh(*services: Service, workloads: tuple[Workload, ...] = ()) -> Mesh:
    ordered = tuple(sorted(services, key=lambda s: s.hostname))
    return Mesh(TRUST_DOMAIN, ordered, tuple(sorted(workloads, key=lambda w: w.name)))


def node(
    workload: str = "messenger-1",
    account: str = "messenger",
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    **facts: Any,
) -> Node:
    facts.setdefault("http_proxy_port", 15080)
    return Node(
        f"sidecar~127.0.0.1~{workload}.{namespace}~{namespace}.svc.cluster.local",
        namespace,
        workload,
        account,
        labels or {},
        **facts,
    )
