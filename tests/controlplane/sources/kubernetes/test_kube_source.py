"""The source over HTTP: what is in force, where it says it is from, and what it tells."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controlplane.inventory import Origin
from controlplane.kinds.core import Service
from controlplane.kinds.parse import parse
from tests.support.kube_cluster import CRDS, Cluster, Kind, Refused
from tests.support.kube_running import DEADLINE_S, delete, put, running, service
from tests.support.kube_server import KubeServer


def route(hosts: Any, name: str = "v") -> dict[str, Any]:
    to = [{"destination": {"host": "web"}}]
    return {"metadata": {"name": name}, "spec": {"hosts": hosts, "http": [{"route": to}]}}


def deny(action: object = "DENY") -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"action": action, "rules": [{}]}}


@pytest.fixture
def server() -> KubeServer:
    made = KubeServer()
    put(made, "services", service("web"))
    return made


# --------------------------------------------------------------------------- what is in force


@pytest.mark.parametrize("aggregated", [True, False])
@pytest.mark.parametrize("minor", [36, 26])
async def test_objects_come_change_and_go(server: KubeServer, aggregated: bool, minor: int) -> None:
    server.aggregated, server.minor = aggregated, minor
    async with running(server) as one:
        assert one.find("Service", "web")
        assert one.changes == 0, "before it is ready nobody is told"
        put(server, "virtualservices", route(["web"]))
        await one.until(lambda: one.find("VirtualService", "v"))
        assert one.changes
        put(server, "services", service("web", selector={"app": "x"}))
        await one.until(lambda: one.snapshot.of(Service)[0].spec.selector == {"app": "x"})
        delete(server, "virtualservices", "v")
        await one.until(lambda: not one.find("VirtualService", "v"))
    streamed = any("sendInitialEvents" in path for _, path in server.requests)
    assert streamed == (minor >= 32)


async def test_a_value_knows_its_object_and_field(server: KubeServer) -> None:
    async with running(server) as one:
        found = one.snapshot.of(Service)[0]
        assert str(found.position) == "kubernetes:Service/default/web"
        assert (
            str(found.spec.ports[0].at("port"))
            == "kubernetes:Service/default/web:spec.ports[0].port"
        )


async def test_what_the_server_adds_is_nothing_to_tell(server: KubeServer) -> None:
    filled = {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "type": "ClusterIP"}
    document = service("full", **filled)
    document["metadata"] |= {
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{" * 200},
    }
    put(server, "services", document)
    async with running(server) as one:
        assert not [s for s in one.statuses("info") if s.object == "Service default/full"]
        changes = one.changes
        before = server.cluster.revision
        document["metadata"]["managedFields"] = [{"manager": "helm"}]
        document["metadata"]["labels"] = {}
        put(server, "services", document)
        put(server, "services", service("mark"))
        await one.until(lambda: one.find("Service", "mark"))
        assert server.cluster.revision == before + 2
        assert one.changes == changes + 1, "only the other one means something new"


async def test_an_error_names_object_and_field_and_the_last_good_one_stays(
    server: KubeServer,
) -> None:
    put(server, "virtualservices", route(["web"]))
    async with running(server) as one:
        put(server, "virtualservices", route("web"))
        await one.until(one.statuses)
        (status,) = one.statuses()
        assert str(status.position) == "kubernetes:VirtualService/default/v:spec.hosts"
        assert status.object == "VirtualService default/v"
        assert "spec.hosts: expected a list, got 'web'" in status.message
        assert one.find("VirtualService", "v")
        put(server, "virtualservices", route(["web", "x"]))
        await one.until(lambda: not one.statuses())


async def test_a_policy_that_can_not_be_read_at_the_start_shuts_its_namespace(
    server: KubeServer,
) -> None:
    put(server, "authorizationpolicies", deny(7))
    async with running(server) as one:
        assert {status.code for status in one.statuses()} == {"InvalidField", "HeldShut"}
        (guard,) = [o for o in one.snapshot.objects if o.key.kind == "AuthorizationPolicy"]
        assert guard.name.startswith("unread-")
        put(server, "authorizationpolicies", deny())
        await one.until(lambda: not one.statuses())
        assert one.find("AuthorizationPolicy", "p")
        assert not one.find("AuthorizationPolicy", guard.name)


async def test_a_policy_that_can_not_be_read_any_more_holds_over_a_restart(
    server: KubeServer, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.json"
    put(server, "authorizationpolicies", deny())
    put(server, "authorizationpolicies", {**deny(), "metadata": {"name": "gone"}})
    async with running(server, last_good=kept) as one:
        first = one.find("AuthorizationPolicy", "p")
        await one.until(lambda: kept.exists() and "gone" in kept.read_text())
    put(server, "authorizationpolicies", deny(7))
    delete(server, "authorizationpolicies", "gone")
    async with running(server, last_good=kept) as one:
        assert one.find("AuthorizationPolicy", "p") == first
        assert {status.code for status in one.statuses()} == {"InvalidField", "HeldLastGood"}
        await one.until(lambda: "gone" not in kept.read_text(), "what was deleted meanwhile")
        put(server, "authorizationpolicies", deny(8))
        await one.until(lambda: "8" in repr(one.statuses()))
        assert one.find("AuthorizationPolicy", "p") == first
    async with running(server) as one:
        assert {status.code for status in one.statuses()} == {"InvalidField", "HeldShut"}


async def test_files_come_first_and_the_other_is_told(server: KubeServer) -> None:
    async with running(server) as one:
        text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 9}]}\n"
        one.inventory.replace(Origin.file("a.yaml"), parse(text, "a.yaml").objects)
        assert one.snapshot.of(Service)[0].spec.ports[0].port == 9
        (status,) = one.statuses()
        assert str(status.position) == "kubernetes:Service/default/web"
        assert "already defined at a.yaml:1:1, which stays in force" in status.message
        assert "files come before Kubernetes" in status.message


async def test_only_the_namespaces_that_are_selected(server: KubeServer) -> None:
    for name in ("one", "two", "three"):
        put(server, "namespaces", {"metadata": {"name": name}})
        put(server, "services", service("web"), name)
    async with running(server, namespaces=("one", "two")) as one:
        keys = {str(item.key) for item in one.snapshot.objects}
        assert keys == {
            "Namespace default/one",
            "Namespace default/two",
            "Service one/web",
            "Service two/web",
        }
        delete(server, "services", "web", "two")
        await one.until(lambda: not one.find("Service", "web", "two"))


async def test_only_what_may_matter_is_asked_for(server: KubeServer) -> None:
    async with running(server):
        asked = [path for _, path in server.requests]
    assert not any("/deployments" in path or "/endpoints?" in path for path in asked)
    secrets = [path for path in asked if "/secrets" in path]
    assert secrets and all("type!%3Dhelm.sh" in path or "type%21" in path for path in secrets)


# --------------------------------------------------------------------------- kinds that come and go


async def test_a_kind_may_come_later_and_go(server: KubeServer) -> None:
    crd = server.cluster.named("virtualservices")
    server.cluster.remove_kind("virtualservices")
    async with running(server) as one:
        missing = {s.object: s for s in one.statuses("info") if s.code == "KindNotServed"}
        assert "install its CustomResourceDefinition" in missing["VirtualService"].message
        server.cluster.kinds.append(crd)
        put(server, "virtualservices", route(["web"]))
        one.source.look()
        await one.until(lambda: one.find("VirtualService", "v"))
        assert not [s for s in one.statuses("info") if s.object == "VirtualService"]
        server.cluster.remove_kind("virtualservices")
        await one.until(lambda: not one.find("VirtualService", "v"))
        assert [s for s in one.statuses("info") if s.object == "VirtualService"]
        assert not one.statuses(), "a kind that is not there is no error"


async def test_another_version_of_a_kind_is_read_anew() -> None:
    old = dataclasses.replace(CRDS[0], versions=("v1beta1",))
    server = KubeServer(Cluster(kinds=[Kind("", ("v1",), "services", "Service"), old]))
    put(server, "virtualservices", route(["web"]))
    put(server, "virtualservices", route(["web"], "w"))
    async with running(server) as one:
        server.cluster.kinds[1] = CRDS[0]
        delete(server, "virtualservices", "w")
        one.source.look()
        await one.until(lambda: any("istio.io/v1/virtual" in path for _, path in server.requests))
        await one.until(lambda: not one.find("VirtualService", "w"))
        assert one.find("VirtualService", "v")


# --------------------------------------------------------------------------- what it tells


async def test_nothing_is_ready_before_everything_was_listed(server: KubeServer) -> None:
    server.forbidden |= {("list", "services"), ("watch", "services")}
    async with running(server, ready=False) as one:
        await one.until(lambda: one.source.troubles)
        (trouble,) = one.source.troubles
        assert "Service can not be listed or watched since 20" in trouble
        assert 'cannot watch resource "services"' in trouble
        rule = (
            'lacks this rule: {apiGroups: [""], resources: [services], verbs: [get, list, watch]}'
        )
        assert rule in trouble
        assert not one.source.is_ready
        assert [line for line in one.said if line.startswith("weft: error: kubernetes:")]
        server.forbidden.clear()
        await asyncio.wait_for(one.source.ready(), DEADLINE_S)
        assert not one.source.troubles


async def test_credentials_that_are_not_accepted(server: KubeServer) -> None:
    async with running(server, ready=False, token="wrong") as one:
        await one.until(lambda: one.source.troubles)
        assert "credentials are not accepted" in one.source.troubles[0]
        server.tokens.add("wrong")
        await asyncio.wait_for(one.source.ready(), DEADLINE_S)


async def test_a_server_that_is_away_changes_nothing_but_a_status(server: KubeServer) -> None:
    async with running(server) as one:
        server.leave()
        await one.until(one.statuses)
        (status,) = one.statuses()
        assert (status.code, status.severity) == ("ApiServerAway", "warning")
        assert "the last state stays in force" in status.message
        assert one.find("Service", "web")
        put(server, "services", service("new"))
        delete(server, "services", "web")
        said = one.changes
        await asyncio.sleep(0.1)
        assert one.changes == said, "an outage is told once"
        server.away = False
        await one.until(lambda: not one.statuses())
        await one.until(lambda: one.find("Service", "new") and not one.find("Service", "web"))


async def test_a_kind_with_which_the_server_has_trouble_is_named(server: KubeServer) -> None:
    async with running(server) as one:
        server.broken.add("services")
        server.cluster.cut("services")
        await one.until(one.statuses)
        (status,) = one.statuses()
        assert status.code == "ApiServerAway"
        assert "(Service: 500 conversion webhook failed)" in status.message
        server.broken.clear()
        await one.until(lambda: not one.statuses())


async def test_a_server_that_breaks_one_kind(server: KubeServer) -> None:
    async with running(server) as one:
        server.forbidden |= {("list", "services"), ("watch", "services")}
        server.cluster.cut("services")
        await one.until(one.statuses)
        assert [status.code for status in one.statuses()] == ["Forbidden"]
        put(server, "virtualservices", route(["web"]))
        await one.until(lambda: one.find("VirtualService", "v"))
        assert one.find("Service", "web")


@pytest.mark.parametrize(
    "answer", [[], {"groups": 5}, {"kind": "APIGroupDiscoveryList", "items": [3]}]
)
async def test_an_answer_to_discovery_that_is_none(server: KubeServer, answer: Any) -> None:
    async with running(server) as one:
        groups = server._discovery
        server._discovery = lambda *words: web.json_response(answer)  # type: ignore[method-assign]
        asked = len(server.requests)
        await one.until(lambda: len(server.requests) > asked + 4)
        assert one.find("Service", "web")
        server._discovery = groups  # type: ignore[method-assign]
        put(server, "virtualservices", route(["web"]))
        await one.until(lambda: one.find("VirtualService", "v") and not one.statuses())


async def test_errors_of_discovery(server: KubeServer) -> None:
    server.failures = [Refused(403, "Forbidden", "no")] * 4
    async with running(server, ready=False) as one:
        await one.until(lambda: one.said)
        assert "bind our account to the ClusterRole system:discovery" in one.said[0]
        await asyncio.wait_for(one.source.ready(), DEADLINE_S)
