"""A pod that changes is a small change, and what its sidecar gets follows it."""

from __future__ import annotations

from controlplane.emit.node import Node, seated
from controlplane.inventory import Inventory
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from controlplane.translate.memo import Memo
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, EDS

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}-1
  labels: {{app: {name}, version: {version}, security.istio.io/tlsMode: istio}}
spec: {{serviceAccountName: a, nodeName: node-1, containers: [{{name: c}}]}}
status: {{phase: Running, podIP: {address}, conditions: [{{type: Ready, status: "{ready}"}}]}}
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/region: eu}}
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all}
spec: {mtls: {mode: STRICT}}
"""


class Town:
    """A mesh that goes on."""

    def __init__(self) -> None:
        self.inventory, self.memo = Inventory(), Memo()
        for name, address in (("one", "10.0.0.1"), ("two", "10.0.0.2")):
            self.put(SERVICE.format(name=name))
            self.put(pod(name, address))
        self.put(NODE)

    def put(self, text: str) -> None:
        (made,) = parse(text, "m.yaml").objects
        self.inventory.put(made)

    def mesh(self) -> Mesh:
        mesh, statuses = build(self.inventory.snapshot(), "cluster.local", self.memo)
        assert (mesh, statuses) == build(self.inventory.snapshot(), "cluster.local")
        return mesh


def pod(name: str, address: str, version: str = "v1", ready: str = "True") -> str:
    return POD.format(name=name, address=address, version=version, ready=ready)


def test_a_pod_that_is_not_ready_any_more_changes_one_assignment() -> None:
    town = Town()
    cache = SnapshotCache(town.mesh(), lambda node: ())
    node = Node("sidecar~x", http_proxy_port=15001)
    before = cache.snapshot(node)
    town.put(pod("one", "10.0.0.1", ready="False"))
    cache.set_mesh(town.mesh())
    after = cache.snapshot(node)
    old, new = (dict(one.of(EDS).items()) for one in (before, after))
    assert [name for name in new if new[name] is not old[name]] == [
        "outbound|80||one.default.svc.cluster.local"
    ]
    assert after.of(CDS) is before.of(CDS)


def test_services_that_no_changed_pod_serves_are_not_asked_again() -> None:
    town = Town()
    before = town.mesh()
    town.put(pod("one", "10.0.0.9", version="v2"))
    after = town.mesh()
    assert after.services[0] != before.services[0]
    assert after.services[1] is before.services[1]
    assert after.security is before.security


def test_the_workload_of_a_pod_is_the_same_while_nothing_of_it_changes() -> None:
    town = Town()
    before = town.mesh().workload_of("default", "two-1", "")
    town.put(pod("one", "10.0.0.1", version="v9"))
    assert town.mesh().workload_of("default", "two-1", "") is before
    town.put(STRICT)
    after = town.mesh().workload_of("default", "two-1", "")
    assert before is not None and after is not None
    assert (before.mtls, after.mtls) == ("PERMISSIVE", "STRICT")
    assert [port.mtls for port in after.captured] == ["STRICT"]


def test_a_pod_comes_before_a_workload_entry_of_its_deployments_name() -> None:
    town = Town()
    town.put(
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: one},"
        " spec: {address: 10.7.0.1}}"
    )
    mesh = town.mesh()
    found = mesh.workload_of("default", "one-1", "one")
    assert found is not None and found.address == "10.0.0.1"
    entry = mesh.workload_of("default", "gone-1", "one")
    assert entry is not None and entry.address == "10.7.0.1"
    assert mesh.workload_of("default", "gone-1", "gone") is None


def test_a_proxy_is_where_the_node_of_its_pod_is() -> None:
    workload = Town().mesh().workload_of("default", "one-1", "")
    node = seated(Node("sidecar~a", pod="one-1", labels={"app": "lie"}), workload)
    assert node.locality == ("eu", "", "")
    assert node.labels["app"] == "one"
    told = Node("sidecar~a", pod="one-1", locality=("us", "", ""))
    assert seated(told, workload).locality == ("us", "", "")
    assert seated(told, None) is told


def test_pods_that_are_gone_are_gone() -> None:
    town = Town()
    assert town.mesh().workload_of("default", "one-1", "") is not None
    (made,) = parse(pod("one", "10.0.0.1"), "m.yaml").objects
    town.inventory.remove(made.key)
    mesh = town.mesh()
    assert mesh.workload_of("default", "one-1", "") is None
    assert mesh.services[0].endpoints == ()
    assert [one.name for one in mesh.pods] == ["two-1"]
