"""Gateway API's own conformance tests: conditions offline, then real requests through a proxy.

Each test's objects become resources as a control plane would push them; those of all tests go into
one process, a Weft proxy and then a real Envoy, whose backends answer as the suite's do. What the
suite does in Go between its steps (deleting a grant, adding a listener) stands in `_CHANGES`. A
case is `core/NAME` or `extended/NAME`, by the features that it needs.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance import gwapi_traffic as traffic
from tests.conformance.gwapi_conditions import Conditions
from tests.conformance.gwapi_pki import Pki
from tests.conformance.gwapi_scene import Document, Key, Scene, Static, documents, key_of
from tests.conformance.suite import Result
from tests.support.echo_backends import Backend, serving
from tests.support.envoy import BINARY, envoy
from tests.support.ports import Reservation
from tests.support.weft_proxy import weft_proxy

CORE = {"Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "ReferenceGrant", "Mesh"}
MESH_NAMESPACE = "gateway-conformance-mesh"
_CALLS = ("Request", "Connection", "Mirrored", "Echo", "Poll")


@dataclass(slots=True)
class Step:
    """kind: the function's name without its package; scene: when it is taken."""

    kind: str
    fn: str
    args: list[Any]
    scene: Scene
    before: tuple[Step, ...] = ()


@dataclass(slots=True)
class Case:
    name: str
    scenes: list[Scene]
    steps: list[Step] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sidecars: dict[tuple[str, str], int] = field(default_factory=dict)


def run(cases: Path, stride: int = 1) -> Iterator[Result]:
    table = json.loads((cases / "expected.shared.json").read_text())[::stride]
    with tempfile.TemporaryDirectory() as folder, Reservation() as reservation:
        yield from asyncio.run(_judged(cases, table, Path(folder), reservation))


async def _judged(
    cases: Path, table: list[Document], folder: Path, reservation: Reservation
) -> list[Result]:
    pki = Pki(folder)
    sources = {row["shortName"]: _objects(cases, row, pki) for row in table}
    plain, secured = _backends(sources.values())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(plain))
        await stack.enter_async_context(serving(secured, pki.server()))
        backends = {(one.namespace, one.service): one for one in (*plain, *secured)}
        ports = {key: one.port for key, one in backends.items()}
        made = [_case(row, sources[row["shortName"]], ports, reservation) for row in table]
        everything = Static()
        for case in made:
            _emit(case, everything, reservation)
        judge = _Judge(backends, pki)
        for case in made:
            judge.conditions(case)
        for label, start in (("Weft", weft_proxy), ("Envoy", envoy)):
            if label == "Envoy" and not BINARY.exists():
                continue
            with start(everything.bootstrap(), folder):
                for case in made:
                    await judge.traffic(case, label)
    return [Result(case.name, "; ".join(case.faults[:3])) for case in made]


# --------------------------------------------------------------------------- scenes


def _objects(cases: Path, row: Document, pki: Pki) -> list[Document]:
    """A mesh test has the mesh's base; every other one the gateways'."""
    base = "mesh" if "Mesh" in row["features"] else "base"
    files = [f"{base}/manifests.yaml", *row["manifests"]]
    found = [one for name in files for one in documents((cases / name).read_text())]
    return [*found, *pki.missing(found)]


def _backends(sources: Any) -> tuple[list[Backend], list[Backend]]:
    """(in plain text, over TLS): one for each Deployment."""
    keys = {key_of(one) for objects in sources for one in objects if one["kind"] == "Deployment"}
    made = [Backend(*key) for key in sorted(keys)]
    secured = [one for one in made if one.service.startswith("tls-backend")]
    return [one for one in made if one not in secured], secured


def _case(
    row: Document, objects: list[Document], ports: Mapping[Key, int], reservation: Reservation
) -> Case:
    name = row["shortName"]
    level = "core" if set(row["features"]) <= CORE else "extended"
    scene = Scene(name, objects, ports, reservation)
    case = Case(f"{level}/{name}", [scene])
    changes = dict(_CHANGES.get(name, {}))
    steps = [] if _GIVES_WAY.get(name) in _SUPPORTED else row["steps"]
    for index, one in enumerate(steps):
        if (change := changes.get(index)) is not None or "Applier" in one["fn"]:
            objects = copy.deepcopy(objects)
            if change is not None:
                change(objects)
            else:
                objects += [_from_go(item) for item in one["args"][0]]
            scene = Scene(f"{name}-{index}", objects, ports, reservation, dict(scene.ports))
            case.scenes.append(scene)
        kind = one["fn"].split(".")[-1]
        args = copy.deepcopy(one["args"])
        if (sent := _SENT.get(name, {}).get(index)) is not None:
            args[-1]["Request"]["Headers"] |= sent
        case.steps.append(Step(kind, one["fn"], args, scene, tuple(case.steps)))
    return case


def _from_go(value: Any) -> Any:
    """A Go literal as YAML: embedded structs have no name there."""
    if isinstance(value, list):
        return [_from_go(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: Document = {}
    for key, item in value.items():
        if key in ("CommonRouteSpec", "BackendObjectReference"):
            found |= _from_go(item)
        elif key == "ObjectMeta":
            found["metadata"] = _from_go(item) | {"creationTimestamp": "2999-01-01T00:00:00Z"}
        elif key == "_type" and "ObjectMeta" in value:
            version, kind = item.split(".")
            found |= {"apiVersion": f"gateway.networking.k8s.io/{version}", "kind": kind}
        elif key != "_type":
            found[key[0].lower() + key[1:]] = _from_go(item)
    return found


def _remove(kind: str) -> Callable[[list[Document]], None]:
    def change(objects: list[Document]) -> None:
        objects[:] = [one for one in objects if one["kind"] != kind]

    return change


def _listeners(gateway: str, *, add: bool) -> Callable[[list[Document]], None]:
    def change(objects: list[Document]) -> None:
        for one in objects:
            if one["kind"] == "Gateway" and one["metadata"]["name"] == gateway:
                listeners = one["spec"]["listeners"]
                if add:
                    allowed = {"namespaces": {"from": "All"}}
                    http = {"name": "http", "port": 80, "protocol": "HTTP"}
                    listeners.append({**http, "allowedRoutes": allowed})
                else:
                    listeners[:] = [item for item in listeners if item["name"] != "https"]

    return change


def _address(value: str) -> Callable[[list[Document]], None]:
    """Takes an address from the Gateways that have it."""

    def change(objects: list[Document]) -> None:
        for one in objects:
            addresses = one["spec"].get("addresses", []) if one["kind"] == "Gateway" else []
            addresses[:] = [item for item in addresses if item["value"] != value]

    return change


_CHANGES: Mapping[str, Mapping[int, Callable[[list[Document]], None]]] = {
    "HTTPRouteReferenceGrant": {3: _remove("ReferenceGrant")},
    "TCPRouteReferenceGrant": {3: _remove("ReferenceGrant")},
    "GatewayStaticAddresses": {2: _address("fake address teehee!"), 6: _address("192.0.2.1")},
    "GatewayModifyListeners": {
        2: _listeners("gateway-add-listener", add=True),
        8: _listeners("gateway-remove-listener", add=False),
    },
}
"""Test -> the step before which something changes -> what."""

_GIVES_WAY = {"TLSRouteListenerTerminateNotSupported": "TLSRouteModeTerminate"}
"""Test -> the feature with which the suite's code returns at once: what it asks for is the opposite
of that feature's own tests, which count for themselves."""
_SUPPORTED = frozenset({"TLSRouteModeTerminate"})

_ALIKE = frozenset({"GRPCRouteRequestHeaderModifier"})
"""Tests whose rules have the same match, so that the first takes every call. The suite does not
look at headers of gRPC calls, and can't tell; everywhere else they are held against what it
expects."""

_SENT: Mapping[str, Mapping[int, Mapping[str, str]]] = {
    "MeshGRPCRouteRequestHeaderModifier": {
        2: {"some-other-header": "this-header-should-be-set", "x-header-set": "overwritten"},
        3: {"x-header-add": "this-value-should-be-appended"},
        4: {"x-header-remove": "removed"},
        5: {"x-header-set-2": "a", "x-header-add-2": "add-header-2", "x-header-remove-2": "b"},
    },
}
"""Test -> step -> request headers that the suite's code adds in a loop, where no recording sees it.
Their values are told by what must come to the backend; those that are overwritten or removed don't
matter."""


# --------------------------------------------------------------------------- resources


def _emit(case: Case, into: Static, reservation: Reservation) -> None:
    """Proxies for the gateways and the clients that the steps of each scene ask."""
    for scene in case.scenes:
        steps = [step for step in case.steps if step.scene is scene and _is_call(step)]
        if not steps:
            continue
        for key in sorted({key for step in steps for key in _gateways(step)}):
            into.add(scene.resources(scene.gateway(key), key[1]))
        for namespace in sorted({_client(step) for step in steps if _is_mesh(case)}):
            port = case.sidecars[scene.prefix, namespace] = reservation.port()
            into.add(scene.resources(scene.sidecar(namespace, port), namespace))


def _is_call(step: Step) -> bool:
    return any(word in step.kind for word in _CALLS)


def _is_mesh(case: Case) -> bool:
    return case.name.partition("/")[2].startswith("Mesh")


def _client(step: Step) -> str:
    """The namespace of the client in a mesh test."""
    return f"{MESH_NAMESPACE}-consumer" if "consumerClient" in step.fn else MESH_NAMESPACE


def _gateways(step: Step) -> Iterator[Key]:
    """Those accepted before, the last first."""
    for one in reversed(step.before):
        place = one.args[0] if one.args else None
        if isinstance(place, dict) and "gateway" in place:
            yield place["gateway"]["Namespace"], place["gateway"]["Name"]


# --------------------------------------------------------------------------- steps


class _Judge:
    def __init__(self, backends: Mapping[Key, Backend], pki: Pki) -> None:
        self._backends = backends
        self._pki = pki

    def conditions(self, case: Case) -> None:
        for step in case.steps:
            if fault := Conditions(step.scene.mesh).judge(step.fn, step.args):
                case.faults.append(f"{step.kind}: {fault}")

    async def traffic(self, case: Case, label: str) -> None:
        for backend in self._backends.values():
            backend.seen.clear()
        for step in case.steps:
            told = Conditions(step.scene.mesh).judge(step.fn, step.args)
            if told is None and (fault := await self._call(case, step)):
                case.faults.append(f"{label}: {step.kind}: {fault}")

    async def _call(self, case: Case, step: Step) -> str:
        if _is_mesh(case):
            return await self._in_mesh(case, step)
        match step.kind:
            case "MakeRequestAndExpectEventuallyConsistentResponse":
                return await self._request(case, step)
            case "MakeTLSRequestAndExpectEventuallyConsistentResponse":
                return await self._tls(step)
            case "MakeTLSRequestAndExpectEventuallyConsistentFailureResponse":
                return "" if await self._tls(step) else "the request succeeds"
            case "MakeTLSConnectionAndExpectEventuallyConnectionRejection":
                wanted = {"Backend": "nobody"}
                tls = (self._pki.client(), "rejected.example.com")
                return "" if await traffic.tcp_fault(self._port(step, 443), wanted, tls) else "in"
            case "MakeTCPRequestAndExpectEventuallyValidResponse":
                return await self._tcp(step)
            case "ExpectMirroredRequest":
                return ""  # told with the request that is mirrored
            case "Patch" | "MustApplyObjectsWithCleanup":
                return ""  # a new scene began
        return "this step is code of the suite, and not done here"

    def _port(self, step: Step, wanted: int, at: Key | None = None) -> int:
        """The real port: of the gateway's listener `wanted`, else of its first or named one."""
        key = at or next(_gateways(step))
        ports = {port: real for (of, port), real in step.scene.ports.items() if of == key}
        return ports.get(wanted) or ports[self._listener_port(step, key)]

    def _listener_port(self, step: Step, key: Key) -> int:
        gateway = next(one for one in step.scene.of("Gateway") if key_of(one) == key)
        listeners = gateway["spec"]["listeners"]
        named: list[str] = next(
            (one.args[0]["listeners"] for one in reversed(step.before) if _has_place(one)), []
        )
        chosen = [one for one in listeners if one["name"] in named] or listeners
        port: int = chosen[0]["port"]
        return port

    async def _request(self, case: Case, step: Step) -> str:
        """Where several gateways were accepted, one of them must answer so."""
        wanted = step.args[-1]
        grpc = step.fn.startswith("grpc.")
        fault = "no gateway was accepted before"
        for key in dict.fromkeys(_gateways(step)):
            port = self._port(step, 80, key)
            if case.name.endswith("Weight"):
                what = traffic.grpc_ask(wanted, "a") if grpc else None
                fault = await traffic.distribution(port, what, wanted, _shares(step.scene))
            elif grpc:
                seen = case.name.rpartition("/")[2] not in _ALIKE
                fault = await traffic.grpc_fault(port, wanted, headers=seen)
            else:
                fault = await traffic.http_fault(port, wanted) or await self._mirrored(wanted)
            if not fault:
                return ""
        return fault

    async def _mirrored(self, wanted: Mapping[str, Any]) -> str:
        """The copies come at the same time as the request, or a moment later."""
        for one in wanted.get("MirroredTo") or ():
            key = (one["BackendRef"]["Namespace"], one["BackendRef"]["Name"])
            path = wanted["Request"]["Path"]
            async with asyncio.timeout(5):
                await self._backends[key].saw(path)
        return ""

    async def _tls(self, step: Step) -> str:
        address, _, client = step.args[:3]
        at = str(address.get("_go", ""))
        wanted_port = 8443 if '"8443"' in at else 443
        named = str((client or {}).get("_go", ""))
        context = self._pki.client(named)
        sni, wanted = step.args[-2], step.args[-1]
        port = self._port(step, wanted_port)
        return await traffic.http_fault(port, wanted, sni, (context, sni))

    async def _tcp(self, step: Step) -> str:
        wanted = step.args[-1]
        tls: tuple[ssl.SSLContext, str] | None = None
        if step.args[1] is not None:
            tls = (self._pki.client(), _first_host(step.scene))
        return await traffic.tcp_fault(self._port(step, 0), wanted, tls)

    async def _in_mesh(self, case: Case, step: Step) -> str:
        if "Connect" in step.kind:
            return ""
        port = case.sidecars[step.scene.prefix, _client(step)]
        wanted = step.args[-1]
        if case.name.endswith("Weight"):
            what = traffic.http_ask(wanted, "echo")
            return await traffic.distribution(port, what, wanted, _shares(step.scene))
        return await traffic.http_fault(port, wanted, "echo")


def _has_place(step: Step) -> bool:
    place = step.args[0] if step.args else None
    return isinstance(place, dict) and "gateway" in place


def _shares(scene: Scene) -> dict[str, float]:
    """Of the only rule with several backends."""
    for one in (*scene.of("HTTPRoute"), *scene.of("GRPCRoute")):
        for rule in one["spec"]["rules"]:
            refs = rule.get("backendRefs", [])
            total = sum(ref.get("weight", 1) for ref in refs)
            if len(refs) > 1:
                return {ref["name"]: ref.get("weight", 1) / total for ref in refs}
    return {}


def _first_host(scene: Scene) -> str:
    hosts: Iterator[str]
    hosts = (host for one in scene.of("TLSRoute") for host in one["spec"]["hostnames"])
    return next(hosts)
