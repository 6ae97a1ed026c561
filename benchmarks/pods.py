"""`python -m benchmarks.pods`: what a cluster's pods cost a control plane, and one that changes.

In process, CPU time of one thread: documents as an API server tells them -> inventory -> mesh ->
what a proxy gets. Each service has 20 pods in one EndpointSlice, as with a sidecar in each.
"""

from __future__ import annotations

import gc
import resource
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.emit.node import Node
from controlplane.inventory import Inventory
from controlplane.resources import Snapshot
from controlplane.sources.kubernetes.answers import Document, Resource
from controlplane.sources.kubernetes.intake import Intake
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from protos.types import EDS

EACH = 20
ROUNDS = 5
PODS = Resource("", "v1", "pods", "Pod", True)
SERVICES = Resource("", "v1", "services", "Service", True)
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
CLIENT = Node("sidecar~client", http_proxy_port=15001)


def _name(service: int, pod: int) -> str:
    return f"s{service}-7d9f8b6c5d-{pod:05d}"


def _address(service: int, pod: int) -> str:
    return f"10.{service // 250}.{service % 250}.{1 + pod}"


def pod(service: int, number: int, *, leaving: bool = False) -> Document:
    """About as much as a real one says."""
    app = f"s{service}"
    kinds = ("Ready", "ContainersReady", "PodScheduled", "Initialized")
    port = {"name": "http", "containerPort": 8080, "protocol": "TCP"}
    metrics = {"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}
    env = [{"name": f"E{index}", "value": "x" * 20} for index in range(20)]
    labels = {"app": app, "version": "v1", "pod-template-hash": "7d9f8b6c5d"}
    return {
        "metadata": {
            "name": _name(service, number),
            "namespace": "default",
            "labels": {**labels, "security.istio.io/tlsMode": "istio"},
            "annotations": {"sidecar.istio.io/status": "x" * 300},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {}),
        },
        "spec": {
            "serviceAccountName": app,
            "nodeName": f"node-{(service + number) % 100}",
            "containers": [
                {"name": "app", "ports": [port], "env": env},
                {"name": "proxy", "ports": [metrics], "env": env},
            ],
            "tolerations": [{"key": "a"}, {"key": "b"}],
        },
        "status": {
            "phase": "Running",
            "podIP": _address(service, number),
            "podIPs": [{"ip": _address(service, number)}],
            "conditions": [{"type": kind, "status": "True"} for kind in kinds],
            "containerStatuses": [{"name": "app", "state": {}}, {"name": "proxy", "state": {}}],
        },
    }


def service(number: int) -> Document:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec = {"selector": {"app": f"s{number}"}, "ports": ports}
    return {"metadata": {"name": f"s{number}", "namespace": "default"}, "spec": spec}


def endpoints(number: int) -> Document:
    labels = {"kubernetes.io/service-name": f"s{number}"}
    return {
        "metadata": {"name": f"s{number}-x", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [_address(number, each)],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": _name(number, each)},
            }
            for each in range(EACH)
        ],
    }


@dataclass(slots=True)
class Plane:
    """From documents to what one proxy gets."""

    inventory: Inventory = field(default_factory=Inventory)
    memo: Memo = field(default_factory=Memo)
    cache: SnapshotCache | None = None

    def take(self, kind: Resource, *documents: Document) -> None:
        intake = Intake(self.inventory)
        for document in documents:
            metadata = document["metadata"]
            name = metadata["namespace"], metadata["name"]
            intake.take(kind, name, document)

    def build(self) -> Snapshot:
        """What the proxy gets."""
        mesh, _ = build(self.inventory.snapshot(), "cluster.local", self.memo)
        if self.cache is None:
            self.cache = SnapshotCache(mesh, lambda node: ())
        self.cache.set_mesh(mesh)
        return self.cache.snapshot(CLIENT)


def filled(services: int) -> Plane:
    """With services and their slices."""
    plane = Plane()
    for number in range(services):
        plane.take(SERVICES, service(number))
        plane.take(SLICES, endpoints(number))
    return plane


def spent_s(work: Callable[[], object]) -> float:
    """CPU time."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def changed(plane: Plane, round_number: int) -> int:
    """One pod begins to leave, or stays after all; answers how many endpoint resources are new."""
    before = plane.build()
    plane.take(PODS, pod(0, 0, leaving=round_number % 2 == 0))
    after = plane.build()
    old, new = (dict(one.of(EDS).items()) for one in (before, after))
    return sum(1 for name in new if new[name] is not old.get(name))


def memory_mb() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.pods", description=__doc__)
    parser.add_argument("--services", type=int, default=500, help=f"each has {EACH} pods")
    services = parser.parse_args().services
    plane, count = filled(services), services * EACH
    documents = [pod(number, each) for number in range(services) for each in range(EACH)]
    before_mb = memory_mb()
    read_s = spent_s(lambda: plane.take(PODS, *documents))
    print(f"{count} pods: {read_s / count * 1e6:.0f} us CPU to read one")
    print(f"memory: {(memory_mb() - before_mb) / count * 1e3:.1f} kB a pod")
    print(f"first translation: {spent_s(plane.build):.2f} s CPU")
    gc.freeze()
    spent, pushed = [], []
    for number in range(ROUNDS):
        plane.take(PODS, pod(0, 0, leaving=number % 2 == 0))
        spent.append(spent_s(plane.build))
        pushed.append(changed(plane, number + 1))
    print(f"one pod changes: {min(spent) * 1e3:.1f} ms CPU, {max(pushed)} resources are new")


if __name__ == "__main__":
    main()
