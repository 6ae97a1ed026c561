"""What documented examples become for gRPC's own clients and servers, and what these are told to do
without: kept as files of what differs from the mesh that they are added to
(`WEFT_UPDATE_GOLDEN=1` writes them anew), taken by gRPC's client, and seen in what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.emit.proxyless.listeners import SERVER
from controlplane.mesh.model import Endpoint, Mesh, Service
from controlplane.xds.cache import SnapshotCache
from protos.types import CDS, EDS, LDS, RDS
from tests.support.documented import KEPT_PORTS, inputs, mesh_of
from tests.support.golden import Parts, as_text, beyond, hold, parts
from tests.support.grpc_xds import echo_server, grpc_judging, grpc_program, write_bootstrap
from tests.support.mesh import node
from tests.support.wait import eventually

FOLDER = Path(__file__).with_name("documented")
AREAS = (
    *("authorization", "client_tls", "connections", "delegation", "entries", "filters"),
    *("load_balancing", "mesh_routes", "peers", "requests", "route_actions", "route_matches"),
    *("services", "sidecars", "subsets", "workloads"),
)
"""All of them but those of gateways, bytes and logs, of which gRPC knows nothing."""
NODE = node(labels={"app": "me", "version": "v1"}, dialect="grpc")


def made(mesh: Mesh) -> Parts:
    """Resources, and what a client is told that calls everything."""
    cache = SnapshotCache(mesh, lambda _: ())
    snapshot = cache.snapshot(NODE)
    found: Parts = {}
    for url in (CDS, EDS, LDS, RDS):
        for name, resource in snapshot.of(url).items():
            if name.startswith(SERVER) and not name.startswith(f"{SERVER}127.0.0.1:"):
                continue  # the same at the other addresses at which it may listen
            body = AnyMessage.FromString(resource.body).value
            found |= parts(url, name, body, ours=False)
    cache.proxyless.note(NODE, [*snapshot.of(RDS), f"{SERVER}127.0.0.1:1"])
    for status in cache.proxyless.statuses():
        found.setdefault("told", []).append(f"{status.object}: {status.message}")
    found["told"] = sorted(found.get("told", ()))
    return found


@cache
def base() -> Parts:
    return made(mesh_of("", KEPT_PORTS))


@cache
def of_area(area: str) -> Mapping[str, Parts]:
    texts = inputs(area)
    return {name: beyond(made(mesh_of(text, KEPT_PORTS)), base()) for name, text in texts.items()}


@pytest.mark.parametrize("area", AREAS)
def test_examples_become_what_is_kept(area: str) -> None:
    hold(FOLDER / f"{area}.yaml", as_text(of_area(area)))


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(AREAS)


def test_many_of_them_are_something_to_grpc() -> None:
    assert sum(bool(found) for area in AREAS for found in of_area(area).values()) >= 100


# --------------------------------------------------------------------------- a real client

JASON = ("end-user", "jason")
SEEN: Mapping[str, tuple[tuple[str, tuple[tuple[str, str], ...], frozenset[str]], ...]] = {
    "route_actions/all_to_a_subset": (("reviews", (), frozenset({"v1"})),),
    "route_actions/weights": (("reviews", (), frozenset({"v1", "v2"})),),
    "route_actions/abort_of_grpc": (("reviews", (), frozenset({"UNAVAILABLE"})),),
    "route_actions/direct_response": (("reviews", (), frozenset({"UNAVAILABLE"})),),
    "route_matches/header_exact": (
        ("reviews", (JASON,), frozenset({"v2"})),
        ("reviews", (), frozenset({"UNAVAILABLE"})),
    ),
    "route_matches/without_headers": (
        ("reviews", (), frozenset({"v2"})),
        ("reviews", (("end-user", "other"),), frozenset({"v2"})),
        ("reviews", (JASON,), frozenset({"UNAVAILABLE"})),
        ("reviews", (("x-robot", "1"),), frozenset({"UNAVAILABLE"})),
    ),
    "mesh_routes/by_header": (
        ("reviews", (JASON,), frozenset({"ratings"})),
        ("reviews", (("end-user", "other"),), frozenset({"v1", "v2"})),
    ),
    "mesh_routes/split": (("reviews", (), frozenset({"v1", "v2", "ratings"})),),
}
"""Input -> who is called, with what, and who answers (or how it ends)."""
CALLS = 12
"""Until those who answer are just these."""


def test_a_real_client_does_what_they_say(tmp_path: Path) -> None:
    async def scenario(ports: Mapping[str, int]) -> None:
        async with grpc_judging() as judge:
            path = write_bootstrap(tmp_path / "bootstrap.json", f"127.0.0.1:{judge.port}")
            with grpc_program(path) as program:
                for example, calls in SEEN.items():
                    area, _, name = example.partition("/")
                    judge.show(near(mesh_of(inputs(area)[name], KEPT_PORTS), ports))
                    for host, metadata, wanted in calls:
                        told = f"{example}, {host}, {metadata}: {sorted(wanted)}"

                        def seen(
                            host: str = host,
                            metadata: object = metadata,
                            wanted: frozenset[str] = wanted,
                        ) -> bool:
                            words = {"metadata": metadata, "timeout": 10.0}
                            found = program.call(f"xds:///{host}:9080", CALLS, **words)
                            return {answer(*one) for one in found} == wanted

                        await asyncio.to_thread(eventually, seen, 60.0, told)

    with ExitStack() as stack:
        names = ("v1", "v2", "ratings")
        asyncio.run(scenario({name: stack.enter_context(echo_server(name)) for name in names}))


def answer(code: str, text: str) -> str:
    """Who, or how the call ended."""
    return text.split()[0] if code == "OK" else code


def near(mesh: Mesh, ports: Mapping[str, int]) -> Mesh:
    """The same mesh, whose services are here, in plain text."""

    def of(service: Service, endpoint: Endpoint) -> Endpoint:
        name = endpoint.labels.get("version", "") if service.name == "reviews" else service.name
        there = dict.fromkeys(endpoint.ports, ports.get(name, 1))
        plain = replace(endpoint, mesh=False, identity="")
        return replace(plain, address="127.0.0.1", ports=there)

    services = tuple(
        replace(one, endpoints=tuple(of(one, each) for each in one.endpoints))
        for one in mesh.services
    )
    return replace(mesh, services=services)
