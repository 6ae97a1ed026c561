"""What is emitted in the gRPC dialect, shown to gRPC's own client: it refuses nothing of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.emit.proxyless.listeners import SERVER
from controlplane.emit.proxyless.routes import clusters_of
from controlplane.mesh.model import Mesh
from controlplane.resources import Resource, Snapshot
from protos.types import CDS, EDS, LDS, RDS
from tests.support.emit_cases import CASES
from tests.support.grpc_xds import (
    GrpcJudge,
    GrpcProgram,
    grpc_judging,
    grpc_program,
    write_bootstrap,
)
from tests.support.mesh import endpoint, mesh, node, service
from tests.support.ports import Reservation

FILES = ("certificate_file", "private_key_file", "ca_certificate_file")
STRIDE = 5
"""Of the meshes each so-and-so-manieth, as each takes a quarter of a second; 1 is all of them."""
NODE = node(dialect="grpc")


def test_a_real_client_refuses_nothing(tmp_path: Path) -> None:
    nothing = tmp_path / "there.are.no.certificates"
    nothing.touch()

    async def scenario() -> None:
        async with grpc_judging() as judge:
            path = write_bootstrap(
                tmp_path / "bootstrap.json",
                f"127.0.0.1:{judge.port}",
                certificates=dict.fromkeys(FILES, str(nothing)),
            )
            with grpc_program(path) as client:
                judged = 0
                for name in [*CASES][::STRIDE]:
                    named, refused = await shown(judge, client, CASES[name]())
                    assert refused == {}, name
                    judged += named
                assert judged > len(CASES) / STRIDE

    asyncio.run(scenario())


def test_a_real_client_lives_when_a_service_becomes_one_of_names(tmp_path: Path) -> None:
    """C-core ends with a segmentation fault where a cluster becomes an aggregate of others."""
    addressed, named = endpoint(9101, mesh=False), endpoint(9101, mesh=False, address="localhost")
    kinds = ((addressed,), (addressed, named), (named,), (named, named), (), (addressed,))

    async def scenario() -> None:
        async with grpc_judging() as judge:
            uri = f"127.0.0.1:{judge.port}"
            with grpc_program(write_bootstrap(tmp_path / "bootstrap.json", uri)) as client:
                for endpoints in kinds:
                    asked = await shown(judge, client, mesh(service("a", *endpoints)))
                    assert asked == (1, {})

    asyncio.run(scenario())


def test_a_real_server_refuses_no_rules_of_access(tmp_path: Path) -> None:
    cases = {
        name: build
        for name, build in CASES.items()
        if any(one.inbound for one in build().workloads)
    }
    assert len(cases) > 3

    async def scenario(ports: Reservation) -> None:
        async with grpc_judging() as judge:
            path = write_bootstrap(
                tmp_path / "bootstrap.json",
                f"127.0.0.1:{judge.port}",
                certificates=dict.fromkeys(FILES, str(tmp_path / "none")),
            )
            with grpc_program(path) as program:
                for name, build in cases.items():
                    refused = await served(judge, program, build(), ports.port())
                    assert refused == {}, name

    with Reservation() as ports:
        asyncio.run(scenario(ports))


async def served(
    judge: GrpcJudge, program: GrpcProgram, candidate: Mesh, port: int
) -> dict[str, dict[str, str]]:
    """What a server refuses of its listener at `port`, where the first workload of all is."""
    first = next(one for one in candidate.workloads if one.inbound)
    there = replace(first.inbound[0], listen_port=port)
    workload = replace(first, name=NODE.workload, namespace="default", inbound=(there,))
    judge.show(replace(candidate, workloads=(workload,)))
    address = f"127.0.0.1:{port}"
    await asyncio.to_thread(program.order, serve=address, **{"as": "server"})
    return await judge.settled({LDS: {f"{SERVER}{address}"}})


async def shown(
    judge: GrpcJudge, client: GrpcProgram, candidate: Mesh
) -> tuple[int, dict[str, dict[str, str]]]:
    """How many tables of routes there are, each of which the client calls by one name; and what it
    refuses."""
    judge.show(candidate)
    snapshot = judge.cache.snapshot(NODE)
    names = {table: name for name, table in tables_by_name(snapshot).items()}
    tables = [routes(table) for table in snapshot.of(RDS).values()]
    named = {name for table in tables for name in clusters_of(table)}
    assert named - {""} <= set(snapshot.of(CDS)), "gRPC would wait 15 s for what is not there"
    clusters = {name for table in tables for name in clusters_of(callable_part(table))} - {""}
    await asyncio.to_thread(client.order, watch=[f"xds:///{name}" for name in names.values()])
    wanted = {LDS: set(names.values()), RDS: set(names), CDS: clusters}
    wanted[EDS] = clusters & set(snapshot.of(EDS))
    return len(names), await judge.settled(wanted)


def tables_by_name(snapshot: Snapshot) -> dict[str, str]:
    found = {}
    for name, resource in snapshot.of(LDS).items():
        manager = hcm_pb2.HttpConnectionManager()
        listener = Listener.FromString(value_of(resource))
        if listener.api_listener.api_listener.Unpack(manager):
            found[name] = manager.rds.route_config_name
    return found


def routes(resource: Resource) -> RouteConfiguration:
    return RouteConfiguration.FromString(value_of(resource))


def callable_part(table: RouteConfiguration) -> RouteConfiguration:
    """Without routes that no call can take, which a client passes over: a method's path has two
    segments."""
    made = RouteConfiguration()
    for host in table.virtual_hosts:
        kept = [one for one in host.routes if not one.match.path or one.match.path.count("/") == 2]
        made.virtual_hosts.add(routes=kept)
    return made


def value_of(resource: Resource) -> bytes:
    return AnyMessage.FromString(resource.body).value
