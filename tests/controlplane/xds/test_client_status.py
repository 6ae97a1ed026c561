"""CSDS: what clients have, told to the administrator and to each of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.status.v3.csds_pb2 import (
    ERROR,
    NOT_SENT,
    STALE,
    SYNCED,
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
)
from envoy.service.status.v3.csds_pb2_grpc import (  # type: ignore[import-untyped]
    ClientStatusDiscoveryServiceStub,
)
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from certs.spiffe import SpiffeId
from controlplane.rpc.server import Server
from controlplane.xds import status_service
from controlplane.xds.admission import Proof
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import SERVICE, AdsService
from controlplane.xds.status_service import StatusService
from protos.types import CDS, EDS
from tests.support.mesh import TRUST_DOMAIN, endpoint, mesh, service
from tests.support.wait import eventually_async

CLUSTER = "outbound|8080||messenger.default.svc.cluster.local"


async def prove(context: grpc.aio.ServicerContext[bytes, bytes]) -> Proof:
    """By name: `admin` is the administrator, '' a stranger."""
    who = dict(context.invocation_metadata() or ()).get("who", "")
    if not who:
        return Proof(refusal="no credentials")
    name = str(who)
    identity = SpiffeId.workload(TRUST_DOMAIN, "default", name)
    return Proof(None if name == "admin" else identity)


class Plane:
    def __init__(self, channel: Any, ads: AdsService) -> None:
        """channel: its stubs know no streams without an iterator."""
        self.channel = channel
        self.ads = ads

    async def proxy(self, account: str, *asked: tuple[str, str], nack: str = "") -> None:
        """A client that asks for single resources and answers what it gets: it acknowledges, or
        rejects, or where nack is '-' says nothing."""
        call = self.channel.stream_stream(
            f"/{SERVICE}/StreamAggregatedResources",
            DiscoveryRequest.SerializeToString,
            DiscoveryResponse.FromString,
        )(metadata=(("who", account),))
        node = EnvoyNode(id=f"sidecar~1~{account}~x")
        node.metadata.update({"SERVICE_ACCOUNT": account})
        for type_url, name in asked:
            request = DiscoveryRequest(node=node, type_url=type_url, resource_names=[name])
            await call.write(request)
            if name == "nobody":
                continue
            response = await call.read()
            if nack == "-":
                continue
            answer = DiscoveryRequest(
                type_url=type_url, resource_names=[name], response_nonce=response.nonce
            )
            answer.version_info = "" if nack else response.version_info
            if nack:
                answer.error_detail.message = nack
            await call.write(answer)
        self._kept = [*getattr(self, "_kept", ()), call]

    async def ask(self, who: str, request: ClientStatusRequest) -> ClientStatusResponse:
        stub = ClientStatusDiscoveryServiceStub(self.channel)
        answer: ClientStatusResponse = await stub.FetchClientStatus(
            request, metadata=(("who", who),)
        )
        return answer


@asynccontextmanager
async def running() -> AsyncIterator[Plane]:
    cache = SnapshotCache(mesh(service("messenger", endpoint(9101))), lambda node: ())
    ads = AdsService(prove, cache, (), lambda: 1_800_000_000.0)
    status = StatusService(prove, lambda: tuple(ads.connections))
    server = Server()
    server.add_generic_rpc_handlers((ads.handler(), status.handler()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Plane(channel, ads)
    finally:
        await server.stop(0)


def check(scenario: Callable[[Plane], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running() as plane:
            await scenario(plane)

    asyncio.run(run())


def statuses(config: ClientConfig) -> dict[str, int]:
    return {one.name: one.config_status for one in config.generic_xds_configs}


async def until(plane: Plane, wanted: Callable[[ClientStatusResponse], bool]) -> None:
    for _ in range(3000):
        if wanted(await plane.ask("admin", ClientStatusRequest())):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(await plane.ask("admin", ClientStatusRequest()))


def test_each_resource_has_its_state() -> None:
    async def scenario(plane: Plane) -> None:
        await plane.proxy("cart", (CDS, CLUSTER), (EDS, "nobody"))
        await plane.proxy("shop", (CDS, CLUSTER), nack=f"{CLUSTER}: no")
        await plane.proxy("web", (CDS, CLUSTER), nack="-")
        wanted = [{CLUSTER: SYNCED, "nobody": NOT_SENT}, {CLUSTER: ERROR}, {CLUSTER: STALE}]
        await until(plane, lambda found: [statuses(one) for one in found.config] == wanted)
        answer = await plane.ask("admin", ClientStatusRequest())
        assert [one.node.id for one in answer.config] == [
            f"sidecar~1~{name}~x" for name in ("cart", "shop", "web")
        ]
        known, refused = answer.config[0].generic_xds_configs, answer.config[1]
        assert known[0].type_url == CDS
        assert known[0].xds_config.type_url == CDS
        assert known[0].version_info
        assert known[0].last_updated.seconds == 1_800_000_000
        assert refused.generic_xds_configs[0].error_state.details == f"{CLUSTER}: no"

    check(scenario)


def test_a_proxy_sees_itself_and_a_stranger_nothing() -> None:
    async def scenario(plane: Plane) -> None:
        await plane.proxy("cart", (CDS, CLUSTER))
        await plane.proxy("shop", (CDS, CLUSTER))
        await eventually_async(lambda: len(plane.ads.connections) == 2)
        (own,) = (await plane.ask("cart", ClientStatusRequest())).config
        assert own.node.id == "sidecar~1~cart~x"
        asked = ClientStatusRequest(node=EnvoyNode(id="sidecar~1~shop~x"))
        assert not (await plane.ask("cart", asked)).config
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.ask("", ClientStatusRequest())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    check(scenario)


def test_matchers_choose_and_contents_may_be_left_out() -> None:
    async def scenario(plane: Plane) -> None:
        await plane.proxy("cart", (CDS, CLUSTER))
        await plane.proxy("shop", (CDS, CLUSTER))
        await eventually_async(lambda: len(plane.ads.connections) == 2)
        matcher = NodeMatcher(node_id=StringMatcher(contains="shop"))
        asked = ClientStatusRequest(node_matchers=[matcher], exclude_resource_contents=True)
        stub = ClientStatusDiscoveryServiceStub(plane.channel)
        call = stub.StreamClientStatus(metadata=(("who", "admin"),))
        for _ in range(2):
            await call.write(asked)
            (shop,) = (await call.read()).config
            assert shop.node.id == "sidecar~1~shop~x"
            assert not shop.generic_xds_configs[0].HasField("xds_config")
        await call.done_writing()
        matcher.node_metadatas.add()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.ask("admin", ClientStatusRequest(node_matchers=[matcher]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "match by node_id" in str(refused.value.details())

    check(scenario)


def test_a_large_answer_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_service, "PART_BYTES", 1)
    monkeypatch.setattr(status_service, "MAX_PARTS", 2)

    async def scenario(plane: Plane) -> None:
        names = ("cart", "shop", "till")
        for name in names:
            await plane.proxy(name, (CDS, CLUSTER))
        await eventually_async(lambda: len(plane.ads.connections) == 3)
        stub = ClientStatusDiscoveryServiceStub(plane.channel)
        call = stub.StreamClientStatus(metadata=(("who", "admin"),))
        await call.write(ClientStatusRequest())
        parts = [[one.node.id for one in (await call.read()).config] for _ in names]
        assert parts == [[f"sidecar~1~{name}~x"] for name in names]
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await plane.ask("admin", ClientStatusRequest())
        assert "StreamClientStatus, which answers in parts" in str(refused.value.details())
        two = [NodeMatcher(node_id=StringMatcher(contains=name)) for name in names[:2]]
        assert len((await plane.ask("admin", ClientStatusRequest(node_matchers=two))).config) == 2

    check(scenario)


def test_whoever_asks_nothing_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams without credentials, or without a request, keep nobody else out."""
    monkeypatch.setattr(status_service, "MAX_CALLS", 1)

    async def scenario(plane: Plane) -> None:
        stub = ClientStatusDiscoveryServiceStub(plane.channel)
        idle = [stub.StreamClientStatus(metadata=(("who", who),)) for who in ("", "cart")]
        for call in idle:
            await call.wait_for_connection()
        assert not (await plane.ask("admin", ClientStatusRequest())).config
        for call in idle:
            call.cancel()

    check(scenario)


@pytest.mark.parametrize(
    ("matchers", "wanted"),
    [
        ([StringMatcher(exact="sidecar~1~cart~x")], "cart"),
        ([StringMatcher(prefix="sidecar~1~c")], "cart"),
        ([StringMatcher(suffix="p~x"), StringMatcher(exact="cart")], "shop"),
        ([StringMatcher(contains="op~"), StringMatcher(contains="ar.")], "shop"),
        (
            [StringMatcher(contains="CART", ignore_case=True), StringMatcher(contains="SHOP")],
            "cart",
        ),
        ([StringMatcher(exact="SIDECAR~1~SHOP~X", ignore_case=True)], "shop"),
        ([StringMatcher(suffix="cart~x"), StringMatcher(contains="shop")], "cart shop"),
        ([StringMatcher(prefix="")], "cart shop"),
    ],
)
def test_each_way_to_match(matchers: list[StringMatcher], wanted: str) -> None:
    async def scenario(plane: Plane) -> None:
        for name in ("cart", "shop"):
            await plane.proxy(name, (CDS, CLUSTER))
        await eventually_async(lambda: len(plane.ads.connections) == 2)
        asked = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=one) for one in matchers])
        found = (await plane.ask("admin", asked)).config
        assert " ".join(one.node.id.split("~")[2] for one in found) == wanted

    check(scenario)
