"""Gateway API's conditions come back to the objects that they are about."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.kinds.objects import ObjectKey
from controlplane.mesh.conditions import (
    CONTROLLERS,
    Condition,
    ListenerConditions,
    ObjectConditions,
    Parent,
    ParentConditions,
)
from controlplane.sources.kubernetes.conditions import GROUP, edit_of, key_of, withdrawn
from controlplane.sources.kubernetes.leader import Leader
from controlplane.sources.kubernetes.lease import Terms
from controlplane.sources.kubernetes.status_writer import StatusWriter
from controlplane.sources.kubernetes.teller import Teller
from controlplane.translate import build
from tests.support.kube_running import Running, delete, put, running, service
from tests.support.kube_server import KubeServer

CONTROLLER, ISTIO = CONTROLLERS
ACCEPTED = Condition("Accepted", "True", "Accepted")
WRITTEN = {
    "type": "Accepted",
    "status": "True",
    "reason": "Accepted",
    "message": "",
    "observedGeneration": 4,
    "lastTransitionTime": "T",
}


def parent(*words: Any) -> ParentConditions:
    return ParentConditions(Parent(*words), (ACCEPTED,))


@pytest.mark.parametrize(
    ("words", "reference"),
    [
        (("", "", "", "gw"), {"group": GROUP, "kind": "Gateway", "name": "gw"}),
        (
            (GROUP, "Gateway", "n", "gw", "http", 80),
            {
                "group": GROUP,
                "kind": "Gateway",
                "name": "gw",
                "namespace": "n",
                "sectionName": "http",
                "port": 80,
            },
        ),
        (("", "Service", "", "web"), {"group": "", "kind": "Service", "name": "web"}),
    ],
)
def test_parents_are_named_as_the_server_has_them(
    words: tuple[Any, ...], reference: dict[str, Any]
) -> None:
    told = ObjectConditions("HTTPRoute", "n", "r", parents=(parent(*words),))
    made = edit_of(told, 4)({}, "T")
    entry = {"parentRef": reference, "conditions": [WRITTEN], "controllerName": CONTROLLER}
    assert made == {"parents": [entry]}
    policy = ObjectConditions("BackendTLSPolicy", "n", "r", parents=(parent(*words),))
    entry = {"ancestorRef": reference, "conditions": [WRITTEN], "controllerName": CONTROLLER}
    assert edit_of(policy, 4)({}, "T") == {"ancestors": [entry]}


def test_each_parent_is_told_of_under_the_controller_of_its_class() -> None:
    theirs = ParentConditions(Parent("", "Gateway", "", "old"), (ACCEPTED,), ISTIO)
    told = ObjectConditions("HTTPRoute", "n", "r", parents=(parent("", "", "", "gw"), theirs))
    foreign = {"controllerName": "example.com/other"}
    gone = {"controllerName": ISTIO, "parentRef": {"name": "gone"}}
    made = edit_of(told, 4)({"parents": [foreign, gone]}, "T")["parents"]
    named = [(one.get("parentRef", {}).get("name"), one["controllerName"]) for one in made]
    assert named == [(None, "example.com/other"), ("gw", CONTROLLER), ("old", ISTIO)]
    taken_back = withdrawn("HTTPRoute")
    assert taken_back is not None
    assert taken_back({"parents": made}, "T") == {"parents": [foreign]}


def test_addresses_of_a_gateway_and_of_an_ingress() -> None:
    where = ("10.0.0.1", "edge.example.com", "fd00::1")
    told = ObjectConditions("Gateway", "n", "gw", addresses=where)
    assert edit_of(told, 4)({}, "T")["addresses"] == [
        {"type": "IPAddress", "value": "10.0.0.1"},
        {"type": "Hostname", "value": "edge.example.com"},
        {"type": "IPAddress", "value": "fd00::1"},
    ]
    many = ObjectConditions("Gateway", "n", "gw", addresses=tuple(f"10.0.1.{i}" for i in range(20)))
    assert len(edit_of(many, 4)({}, "T")["addresses"]) == 16
    ingress = ObjectConditions("Ingress", "n", "i", addresses=where)
    assert key_of(ingress) == ObjectKey("Ingress", "n", "i")
    made = edit_of(ingress, 4)({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}}, "T")
    there = [{"ip": "10.0.0.1"}, {"hostname": "edge.example.com"}, {"ip": "fd00::1"}]
    assert made == {"loadBalancer": {"ingress": there}}
    taken_back = withdrawn("Ingress")
    assert taken_back is not None and taken_back(made, "T") == {"loadBalancer": {}}


def test_a_gateway_and_its_listeners() -> None:
    listener = ListenerConditions("http", ((GROUP, "HTTPRoute"),), 2, (ACCEPTED,))
    told = ObjectConditions("Gateway", "n", "gw", (ACCEPTED,), (listener,), attached_sets=1)
    assert key_of(told) == ObjectKey("Gateway.gateway.networking.k8s.io", "n", "gw")
    assert edit_of(told, 4)({"addresses": [1]}, "T") == {
        "addresses": [1],
        "conditions": [WRITTEN],
        "listeners": [
            {
                "name": "http",
                "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}],
                "attachedRoutes": 2,
                "conditions": [WRITTEN],
            }
        ],
        "attachedListenerSets": 1,
    }


def test_a_class_has_conditions_only_and_is_of_no_namespace() -> None:
    told = ObjectConditions("GatewayClass", "", "weft", (ACCEPTED,))
    assert key_of(told).namespace == "default"
    assert edit_of(told, 4)({}, "T") == {"conditions": [WRITTEN]}


def test_what_is_taken_back() -> None:
    assert withdrawn("Gateway") is None
    mine = {"controllerName": CONTROLLER}
    route, policy = withdrawn("HTTPRoute"), withdrawn("BackendTLSPolicy")
    assert route and route({"parents": [mine, {}]}, "T") == {"parents": [{}]}
    assert policy and policy({"ancestors": [mine]}, "T") == {"ancestors": []}


# --------------------------------------------------------------------------- objects to statuses


def gateway(**more: Any) -> dict[str, Any]:
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    spec = {"gatewayClassName": "ours", "listeners": [listener], **more}
    return {"metadata": {"name": "gw"}, "spec": spec}


def route(name: str = "gw") -> dict[str, Any]:
    rules = [{"backendRefs": [{"name": "web", "port": 80}]}]
    return {"metadata": {"name": "r"}, "spec": {"parentRefs": [{"name": name}], "rules": rules}}


def conditions(server: KubeServer, plural: str, key: tuple[str, str]) -> dict[str, Any]:
    """type -> (status, observed generation) of the object itself, or of its only parent."""
    status = server.cluster.objects(plural)[key].get("status") or {}
    holder = status["parents"][0] if status.get("parents") else status
    found = holder.get("conditions") or ()
    return {one["type"]: (one["status"], one["observedGeneration"]) for one in found}


@asynccontextmanager
async def telling(one: Running) -> AsyncIterator[Callable[[], None]]:
    """What translates and says what came of it, with a leader who writes it."""
    leader = Leader(one.client, "weft", "me", lambda why: None, Terms(retry_s=0.01))
    writer = StatusWriter(
        one.client, one.source.resource_of, lambda: leader.term, random.random, lambda *why: None
    )
    teller = Teller(one.source, writer)

    def tell() -> None:
        mesh, statuses = build(one.snapshot, "td")
        teller.tell(mesh.conditions, statuses)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(leader.run())]
    await one.until(lambda: leader.term)
    tasks.append(loop.create_task(writer.run()))
    try:
        yield tell
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_from_objects_to_statuses() -> None:
    server = KubeServer()
    spec = {"controllerName": CONTROLLER}
    put(server, "gatewayclasses", {"metadata": {"name": "ours"}, "spec": spec})
    put(server, "gateways", gateway())
    put(server, "httproutes", route())
    put(server, "services", service("web"))
    async with running(server) as one, telling(one) as tell:

        def of_route() -> dict[str, Any]:
            return conditions(server, "httproutes", ("default", "r"))

        tell()
        await one.until(lambda: of_route().get("Accepted") == ("True", 1))
        of_class = conditions(server, "gatewayclasses", ("", "ours"))
        assert of_class["Accepted"] == ("True", 1)
        assert "Programmed" in conditions(server, "gateways", ("default", "gw"))
        changes = one.changes
        put(server, "httproutes", {**route(), "spec": {**route()["spec"], "hostnames": []}})
        await one.until(lambda: one.changes > changes, "another generation of the same meaning")
        tell()
        await one.until(lambda: of_route().get("Accepted") == ("True", 2))
        delete(server, "gateways", "gw")
        put(server, "httproutes", route("elsewhere"))
        await one.until(lambda: not one.find("Gateway.gateway.networking.k8s.io", "gw"))
        await one.until(lambda: "elsewhere" in repr(one.find("HTTPRoute", "r")))
        tell()
        await one.until(lambda: not of_route())


async def test_what_is_wrong_with_an_object_of_istio() -> None:
    server = KubeServer()
    to = [{"destination": {"host": "nowhere"}}]
    spec: dict[str, Any] = {"hosts": ["web"], "http": [{"route": to}]}
    put(server, "virtualservices", {"metadata": {"name": "v"}, "spec": spec})
    put(server, "services", service("web"))
    theirs = {"type": "Reconciled", "status": "True"}
    stored = server.cluster.objects("virtualservices")[("default", "v")]
    stored["status"] = {"conditions": [theirs]}

    def status() -> dict[str, Any]:
        found = server.cluster.objects("virtualservices")[("default", "v")]
        return dict(found.get("status") or {})

    async with running(server) as one, telling(one) as tell:
        tell()
        await one.until(lambda: "validationMessages" in status())
        (message,) = status()["validationMessages"]
        assert message["level"] in ("ERROR", "WARNING")
        kept, ours = status()["conditions"]
        assert kept == theirs
        assert (ours["type"], ours["observedGeneration"]) == ("Accepted", 1)
        assert ours["reason"] == message["type"]["code"]
        assert "nowhere" in ours["message"]
        requests = len(server.requests)
        tell()
        await asyncio.sleep(0.1)
        writes = [path for method, path in server.requests[requests:] if "/virtual" in path]
        assert not [path for path in writes if path.endswith("/status")], "nothing is new"
        spec["http"][0]["route"][0]["destination"]["host"] = "web"
        put(server, "virtualservices", {"metadata": {"name": "v"}, "spec": spec})
        await one.until(lambda: "'nowhere'" not in repr(one.find("VirtualService", "v")))
        tell()
        await one.until(lambda: status() == {"conditions": [theirs]})


async def test_an_ingress_says_where_it_is_reached() -> None:
    server = KubeServer()
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    spec = {"ingressClassName": "weft", "defaultBackend": backend}
    put(server, "ingresses", {"metadata": {"name": "i"}, "spec": spec})
    put(server, "services", service("web"))
    selector = {"istio": "ingressgateway"}
    put(server, "services", service("edge", selector=selector, clusterIP="10.96.0.9"))

    def balancer() -> Any:
        return server.cluster.objects("ingresses")["default", "i"].get("status", {})

    async with running(server) as one, telling(one) as tell:
        tell()
        await one.until(lambda: balancer() == {"loadBalancer": {"ingress": [{"ip": "10.96.0.9"}]}})
        put(
            server,
            "ingresses",
            {"metadata": {"name": "i"}, "spec": {**spec, "ingressClassName": "o"}},
        )
        await one.until(lambda: "='o'" in repr(one.find("Ingress", "i")))
        tell()
        await one.until(lambda: balancer() == {"loadBalancer": {}})
