"""Pods and nodes of a cluster, as its API server tells them, in what proxies get."""

from __future__ import annotations

from typing import Any

from controlplane.emit.node import Node
from controlplane.resources import Snapshot
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.dump import dump
from protos.types import CDS, EDS
from tests.support.kube_running import Running, delete, put, running, service
from tests.support.kube_server import KubeServer

ALL, V1 = (f"outbound|80|{subset}|web.default.svc.cluster.local" for subset in ("", "v1"))
CLIENT = Node("sidecar~client", http_proxy_port=15001)
OWN = Node("sidecar~x", pod="web-1", service_account="web", interception="REDIRECT")


def pod(name: str, address: str, **labels: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "lastProbeTime": None}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    ports = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    containers = [{"name": "web", "image": "i", "ports": ports}]
    labels |= {"app": "web", "security.istio.io/tlsMode": "istio"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"serviceAccountName": "web", "nodeName": "node-1", "containers": containers},
        "status": {**status, "conditions": [ready], "containerStatuses": [{"restartCount": 1}]},
    }


def listed(*places: tuple[str, str]) -> dict[str, Any]:
    endpoints = [
        {"addresses": [address], "targetRef": {"kind": "Pod", "name": name, "namespace": "default"}}
        for name, address in places
    ]
    metadata = {"name": "web-a", "labels": {"kubernetes.io/service-name": "web"}}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }


def cluster() -> KubeServer:
    server = KubeServer()
    labels = {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1"}
    put(
        server,
        "nodes",
        {"metadata": {"name": "node-1", "labels": labels}, "status": {"images": []}},
    )
    put(server, "pods", pod("web-1", "10.0.0.1", version="v1"))
    put(server, "pods", pod("web-2", "10.0.0.2", version="v2"))
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    put(server, "services", service("web", selector={"app": "web"}, ports=ports))
    put(server, "endpointslices", listed(("web-1", "10.0.0.1"), ("web-2", "10.0.0.2")))
    subsets = [{"name": "v1", "labels": {"version": "v1"}}]
    rule = {"metadata": {"name": "web"}, "spec": {"host": "web", "subsets": subsets}}
    put(server, "destinationrules", rule)
    return server


class Proxies:
    """What they get of a source's inventory."""

    def __init__(self, one: Running) -> None:
        self._one = one
        self._memo = Memo()
        self._cache = SnapshotCache(self._mesh(), lambda node: ())

    def _mesh(self) -> Any:
        return build(self._one.snapshot, "cluster.local", self._memo)[0]

    def get(self, node: Node = CLIENT) -> Snapshot:
        self._cache.set_mesh(self._mesh())
        return self._cache.snapshot(node)


def groups(snapshot: Snapshot, name: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """(zone, [(address, health)]) of an assignment."""
    found = dump(snapshot)["EDS"][name]["resource"].get("endpoints", [])
    return [
        (
            one["locality"].get("zone", ""),
            [
                (each["endpoint"]["address"]["socket_address"]["address"], each["health_status"])
                for each in one["lb_endpoints"]
            ],
        )
        for one in found
    ]


async def test_pods_give_endpoints_their_labels_identity_and_place() -> None:
    async with running(cluster()) as one:
        snapshot = Proxies(one).get()
        assert groups(snapshot, V1) == [("eu-1", [("10.0.0.1", "HEALTHY")])]
        (group,) = groups(snapshot, ALL)
        assert [address for address, _ in group[1]] == ["10.0.0.1", "10.0.0.2"]
        secured = repr(dump(snapshot)["CDS"][ALL]["resource"]["transport_socket"])
        assert "spiffe://cluster.local/ns/default/sa/web" in secured
        assert not one.statuses()


async def test_a_pod_that_leaves_is_drained_before_its_slice_says_so() -> None:
    server = cluster()
    async with running(server) as one:
        proxies = Proxies(one)
        before = proxies.get()
        leaving = pod("web-1", "10.0.0.1", version="v1")
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        put(server, "pods", leaving)
        await one.until(lambda: getattr(one.find("Pod", "web-1"), "is_leaving", False))
        after = proxies.get()
        assert groups(after, V1) == [("eu-1", [("10.0.0.1", "DRAINING")])]
        assert after.of(CDS) is before.of(CDS)
        old, new = (dict(each.of(EDS).items()) for each in (before, after))
        assert {name for name in new if new[name] is not old[name]} == {ALL, V1}


async def test_other_labels_make_it_another_subsets() -> None:
    server = cluster()
    async with running(server) as one:
        proxies = Proxies(one)
        put(server, "pods", pod("web-2", "10.0.0.2", version="v1"))
        await one.until(lambda: "'v2'" not in repr(one.find("Pod", "web-2")))
        (group,) = groups(proxies.get(), V1)
        assert [address for address, _ in group[1]] == ["10.0.0.1", "10.0.0.2"]
        delete(server, "pods", "web-2")
        await one.until(lambda: not one.find("Pod", "web-2"))
        (group,) = groups(proxies.get(), V1)
        assert [address for address, _ in group[1]] == ["10.0.0.1"]


async def test_a_sidecar_gets_the_inbound_side_of_its_pod() -> None:
    server = cluster()
    async with running(server) as one:
        proxies = Proxies(one)
        inbound = dump(proxies.get(OWN))["LDS"]["virtualInbound"]["resource"]
        ports = {
            each["filter_chain_match"].get("destination_port")
            for each in inbound["filter_chains"]
            if "filter_chain_match" in each
        }
        assert 8080 in ports
        selector = {"matchLabels": {"version": "v1"}}
        spec = {"action": "DENY", "rules": [{}], "selector": selector}
        policy = {"metadata": {"name": "all"}, "spec": spec}
        put(server, "authorizationpolicies", policy)
        await one.until(lambda: one.find("AuthorizationPolicy", "all"))
        assert "envoy.filters.http.rbac" in repr(dump(proxies.get(OWN))["LDS"]["virtualInbound"])
        put(server, "pods", pod("web-1", "10.0.0.1", version="v3"))
        await one.until(lambda: "'v3'" in repr(one.find("Pod", "web-1")))
        assert "envoy.filters.http.rbac" not in repr(
            dump(proxies.get(OWN))["LDS"]["virtualInbound"]
        )
