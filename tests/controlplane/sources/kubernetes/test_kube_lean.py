"""Of what the API server tells only what matters is read, and nothing new in it does harm."""

from __future__ import annotations

from typing import Any

from controlplane.inventory import Inventory
from controlplane.kinds.cluster_node import Node
from controlplane.kinds.pod import Pod
from controlplane.sources.kubernetes.answers import Document, Resource
from controlplane.sources.kubernetes.intake import Intake, origin_of
from controlplane.sources.kubernetes.lean import lean

PODS = Resource("", "v1", "pods", "Pod", True)
NODES = Resource("", "v1", "nodes", "Node", False)
NAME = ("shop", "web-1")


def pod(**status: Any) -> Document:
    """As kube-apiserver tells it, with a field that no Weft has heard of at every level."""
    port = {"name": "http", "containerPort": 8080, "protocol": "TCP", "new": 1}
    container = {"name": "web", "image": "web:1", "ports": [port, {"containerPort": 1}], "new": 1}
    return {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"app": "web"},
            "annotations": {"weft.dev/sidecar": "true", "kubernetes.io/psp": "x"},
            "managedFields": [{"manager": "kubelet"}],
            "resourceVersion": "7",
            "new": 1,
        },
        "spec": {
            "serviceAccountName": "web",
            "nodeName": "node-1",
            "containers": [container, {"name": "silent"}],
            "initContainers": [{"name": "sidecar", "restartPolicy": "Always", "ports": [port]}],
            "tolerations": [{"key": "a"}],
            "new": 1,
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastProbeTime": None, "new": 1},
            ],
            "containerStatuses": [{"name": "web", "restartCount": 3}],
            "new": 1,
            **status,
        },
    }


def taken(document: Document) -> Pod:
    inventory = Inventory()
    Intake(inventory).take(PODS, NAME, document)
    origin = origin_of(PODS, NAME)
    assert inventory.statuses_of(origin) == ()
    (made,) = inventory.objects_of(origin)
    assert isinstance(made, Pod)
    return made


def test_of_a_pod_little_is_kept() -> None:
    document = pod()
    made = taken(document)
    assert (made.addresses, made.is_ready, made.is_leaving) == (("10.0.0.1",), True, False)
    assert made.spec.service_account_name == "web"
    assert made.metadata.annotations == {"weft.dev/sidecar": "true"}
    assert [len(one.ports) for one in made.spec.containers] == [1, 1]
    assert made.port("http", "TCP") == 8080
    assert made.port("http", "UDP") is None
    assert document == pod(), "what was given is not changed"


def test_a_pod_in_two_families_keeps_both() -> None:
    made = taken(pod(podIPs=[{"ip": "10.0.0.1"}, {"ip": "fd00::1", "new": 1}]))
    assert made.addresses == ("10.0.0.1", "fd00::1")


def test_what_the_kubelet_writes_is_no_news() -> None:
    intake = Intake(Inventory())
    assert intake.take(PODS, NAME, pod())
    assert not intake.take(PODS, NAME, pod(containerStatuses=[], hostIP="192.168.0.1"))
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert intake.take(PODS, NAME, leaving)
    assert taken(leaving).is_leaving


def test_a_pod_that_waits_has_no_address() -> None:
    made = taken(pod(phase="Pending", podIP=None, podIPs=None, conditions=None))
    assert (made.addresses, made.is_ready) == ((), False)


def test_of_a_node_its_labels_are_kept() -> None:
    labels = {"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1"}
    metadata = {"name": "node-1", "labels": labels, "annotations": {"volumes": "x" * 100}}
    document = {"metadata": metadata, "spec": {"podCIDR": "a"}, "status": {"images": [{}]}}
    made = lean(NODES, document)
    wanted = {"apiVersion": "v1", "kind": "Node"}
    assert made == wanted | {"metadata": {"name": "node-1", "labels": labels}}
    intake = Intake(inventory := Inventory())
    intake.take(NODES, ("", "node-1"), document)
    (node,) = inventory.snapshot().of(Node)
    assert node.locality == ("eu", "eu-1", "")
