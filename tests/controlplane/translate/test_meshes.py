"""Properties of every translated mesh, on real applications and on names."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.inventory import Inventory
from controlplane.mesh.model import Mesh, Service, Status
from controlplane.sources.files import FileSource
from controlplane.translate import build
from controlplane.translate.index import Hosts
from tests.support.cases import case_folder

ROOT = Path(__file__).resolve().parents[3]
APPLICATIONS = [
    ("app-acme-fitness", "kubernetes-manifests", 12),
    ("app-postcard", "mesh", 2),
    ("istio-samples", "samples/bookinfo/platform", 4),
    ("istio-samples", "samples/bookinfo", 4),
    ("istio-samples", "samples/helloworld", 1),
    ("istio-samples", "samples", 40),
    ("istio-analyze", ".", 10),
]


def translated(directory: Path) -> tuple[Mesh, tuple[Status, ...]]:
    inventory = Inventory()
    FileSource(directory, inventory, lambda: None).load()
    return build(inventory.snapshot(), "cluster.local")


def holds(mesh: Mesh) -> None:
    """What emission relies on."""
    names = [service.hostname for service in mesh.services]
    assert names == sorted(set(names))
    keys = [(workload.namespace, workload.name) for workload in mesh.workloads]
    assert keys == sorted(set(keys))
    for service in mesh.services:
        ports = [port.number for port in service.ports]
        assert len(set(ports)) == len(ports)
        for endpoint in service.endpoints:
            assert endpoint.ports
            assert bool(endpoint.identity) >= endpoint.mesh
        for rule in service.rules:
            assert rule.matches
            actions = (rule.destinations, rule.redirect, rule.direct_response)
            assert sum(bool(action) for action in actions) == 1
            if rule.destinations:
                assert sum(destination.weight for destination in rule.destinations) > 0
            for destination in rule.destinations:
                found = mesh.service(destination.host)
                if destination.resolved:
                    assert found is not None
                    names_of = {subset.name for subset in found.subsets} | {""}
                    assert destination.subset in names_of
                    assert destination.port is None or destination.port in {
                        port.number for port in found.ports
                    }


@pytest.mark.parametrize(("suite", "folder", "services_min"), APPLICATIONS)
def test_real_applications_translate(suite: str, folder: str, services_min: int) -> None:
    mesh, statuses = translated(case_folder(suite) / folder)
    assert len(mesh.services) >= services_min
    holds(mesh)
    for status in statuses:
        assert status.position.source.startswith(str(case_folder(suite))), status


def test_the_postcard_example_has_nothing_to_complain_of() -> None:
    mesh, statuses = translated(ROOT / "examples" / "postcard")
    holds(mesh)
    assert [service.name for service in mesh.services] == ["greeter", "messenger"]
    assert not [str(status) for status in statuses]


def service(name: str, namespace: str) -> Service:
    base = f"{name}.{namespace}"
    aliases = (base, f"{base}.svc")
    return Service(f"{base}.svc.cluster.local", name, namespace, (), aliases=aliases)


@pytest.mark.parametrize(
    ("host", "namespace", "full"),
    [
        ("a", "one", "a.one.svc.cluster.local"),
        ("a", "two", "a.two.svc.cluster.local"),
        ("A.One", "two", "a.one.svc.cluster.local"),
        ("a.one.svc", "two", "a.one.svc.cluster.local"),
        ("a.one.svc.cluster.local.", "two", "a.one.svc.cluster.local"),
        ("b.one", "one", "b.one"),
        ("www.example.com", "one", "www.example.com"),
        ("*.example.com", "one", "*.example.com"),
        ("*", "one", "*"),
        ("lone", "one", "lone"),
    ],
)
def test_short_names_are_meant_in_the_namespace(host: str, namespace: str, full: str) -> None:
    lone = Service("lone", "lone", "one", ())
    assert Hosts([service("a", "one"), lone]).full_name(host, namespace) == full


def test_a_wildcard_means_the_services_below_it() -> None:
    hosts = Hosts([service("a", "one"), service("b", "two"), service("ab", "one")])
    names = [found.name for found in hosts.matching("*.one.svc.cluster.local")]
    assert names == ["a", "ab"]
    assert hosts.matching("*.example.com") == ()
    assert [found.name for found in hosts.matching("b.two.svc.cluster.local")] == ["b"]
