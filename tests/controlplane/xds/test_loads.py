"""LRS: what clients report of their requests is added up, also by real gRPC clients and Envoys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.config.endpoint.v3.load_report_pb2 import ClusterStats
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from prometheus_client import CollectorRegistry, generate_latest

from controlplane.status import StatusRegistry
from controlplane.xds.load_metrics import LoadMetrics
from controlplane.xds.load_service import SERVICE, TAKES_ALL
from controlplane.xds.loads import Load, Loads
from tests.support.envoy import envoy, require_envoy
from tests.support.grpc_xds import (
    GrpcJudge,
    echo_server,
    grpc_judging,
    grpc_program,
    write_bootstrap,
)
from tests.support.mesh import endpoint, mesh, service
from tests.support.ports import free_port
from tests.support.sidecar_bootstrap import sidecar_bootstrap
from tests.support.wait import eventually_async

HOST = "messenger.default.svc.cluster.local"
CLUSTER = f"outbound|8080||{HOST}"
MESH = mesh(service("messenger", endpoint(9101)))


def stats(cluster: str, ok: int = 0, failed: int = 0, under_way: int = 0) -> ClusterStats:
    made = ClusterStats(cluster_name=cluster)
    made.upstream_locality_stats.add(
        total_issued_requests=ok + failed,
        total_successful_requests=ok,
        total_error_requests=failed,
        total_requests_in_progress=under_way,
    )
    return made


def report(*clusters: ClusterStats) -> LoadStatsRequest:
    return LoadStatsRequest(cluster_stats=clusters)


def test_reports_of_all_clients_are_added_up() -> None:
    loads = Loads(lambda: MESH)
    one, other = loads.joined(), loads.joined()
    assert loads.report(one, report(stats(CLUSTER, 5, 1, under_way=2)))
    assert loads.report(other, report(stats(CLUSTER, 3, under_way=1), stats("anything", 7)))
    assert loads.report(one, report(stats(CLUSTER, 1, under_way=4)))
    assert loads.by_cluster[CLUSTER] == Load(10, 9, 1, 0)
    assert loads.by_cluster[""].issued == 7
    assert loads.in_progress() == {CLUSTER: 5}
    loads.left(one)
    assert (loads.in_progress(), loads.clients) == ({CLUSTER: 1}, 1)


def test_what_was_reported_shows_in_metrics_and_status_and_ends_with_its_cluster() -> None:
    now = [MESH]
    loads = Loads(lambda: now[0])
    metrics = CollectorRegistry()
    LoadMetrics(metrics, loads)
    loads.report(loads.joined(), report(stats(CLUSTER, 5, 2, under_way=3)))
    text = generate_latest(metrics).decode()
    assert f'weft_reported_requests_total{{cluster="{CLUSTER}",result="error"}} 2.0' in text
    assert f'weft_reported_requests_in_progress{{cluster="{CLUSTER}"}} 3.0' in text
    registry = StatusRegistry(loads=loads)
    registry.configured("1", MESH, (), 0.0)
    (shown,) = registry.services
    assert (shown.requests, shown.errors) == (7, 2)
    now[0] = mesh()
    assert not loads.known
    assert not loads.by_cluster


def test_a_client_is_admitted_as_for_discovery_and_told_what_to_report() -> None:
    async def scenario() -> None:
        async with grpc_judging() as judge:
            judge.show(MESH)
            target = f"127.0.0.1:{judge.port}"
            async with grpc.aio.insecure_channel(target) as channel:
                assert (await first_answer(channel, "messenger")).clusters == [CLUSTER]
                able = await first_answer(channel, "messenger", TAKES_ALL)
                assert able.send_all_clusters
                assert able.load_reporting_interval.ToMilliseconds() == 50
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await first_answer(channel, "somebody-else")
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(scenario())


async def first_answer(
    channel: grpc.aio.Channel, account: str, *features: str
) -> LoadStatsResponse:
    node = EnvoyNode(id="sidecar~1~a~b", client_features=features)
    node.metadata.update({"SERVICE_ACCOUNT": account})

    async def requests() -> AsyncIterator[LoadStatsRequest]:
        yield LoadStatsRequest(node=node)

    call = channel.stream_stream(
        f"/{SERVICE}/StreamLoadStats",
        LoadStatsRequest.SerializeToString,
        LoadStatsResponse.FromString,
    )
    answers: list[LoadStatsResponse] = [one async for one in call(requests())]
    return answers[0]


def test_a_real_grpc_client_reports_what_it_calls(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with grpc_judging() as judge:
            judge.show(mesh(service("messenger", endpoint(port, mesh=False), protocol="GRPC")))
            uri = f"127.0.0.1:{judge.port}"
            with grpc_program(write_bootstrap(tmp_path / "b.json", uri)) as program:
                called = await asyncio.to_thread(program.call, f"xds:///{HOST}:8080", 20)
                assert {code for code, _ in called} == {"OK"}
                await until_reported(judge, 20)
                await asyncio.to_thread(
                    program.call, f"xds:///{HOST}:8080", 3, method="/weft.test.Echo/No"
                )
                await until_reported(judge, 23)
                assert judge.loads.by_cluster[CLUSTER].failed == 3

    with echo_server("one") as port:
        asyncio.run(scenario(port))


async def until_reported(judge: GrpcJudge, issued: int) -> None:
    def reported() -> bool:
        load = judge.loads.by_cluster.get(CLUSTER)
        return load is not None and load.issued == issued

    await eventually_async(reported, 60.0, f"{issued} requests of {CLUSTER} are reported")


def test_a_real_envoy_reports(tmp_path: Path) -> None:
    require_envoy()

    async def scenario() -> None:
        async with grpc_judging() as judge:
            judge.show(mesh(service("messenger", endpoint(9101, mesh=False))))  # no secrets
            bootstrap = sidecar_bootstrap(
                judge.port,
                b"",
                "unused",
                workload="messenger-1",
                service_account="messenger",
                http_proxy_port=free_port(),
                delta=True,
            )
            del bootstrap["static_resources"]["clusters"][0]["transport_socket"]
            bootstrap["cluster_manager"] = {
                "load_stats_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": bootstrap["dynamic_resources"]["ads_config"]["grpc_services"],
                }
            }
            sidecar = envoy(bootstrap, tmp_path)
            await asyncio.to_thread(sidecar.start)
            try:
                await eventually_async(lambda: judge.loads.clients == 1, 30.0, "Envoy reports")
            finally:
                await asyncio.to_thread(sidecar.stop)

    asyncio.run(scenario())
