"""The ADS service over a real connection, with a client of grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from h2.settings import SettingCodes

from certs.spiffe import SpiffeId
from controlplane.emit.node import Node
from controlplane.mesh.model import Mesh
from controlplane.rpc.server import Server as RpcServer
from controlplane.xds import admission
from controlplane.xds.admission import Proof, Seats
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.service import SERVICE, AdsService, Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push
from protos.types import CDS, HEALTH, LDS, SDS, VHDS
from tests.controlplane.rpc.test_rpc_hostile import Raw, framed
from tests.support.mesh import endpoint, mesh, service
from tests.support.wait import eventually_async

Channel = Any
"""grpc.aio.Channel; its stubs know neither streams without an iterator nor bytes."""

MESSENGER = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/messenger")
ONE = mesh(service("messenger", endpoint(9101)))
TWO = mesh(service("messenger", endpoint(9101)), service("greeter", endpoint(9102)))


@dataclass
class Witness:
    """An observer that remembers."""

    pushes: list[str] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)
    convergences: list[float] = field(default_factory=list)

    def changed(self, connection: Connection) -> None:
        pass

    def pushed(self, connection: Connection, push: Push) -> None:
        self.pushes.append(push.type_url)

    def rejected(self, connection: Connection, answer: Answer) -> None:
        self.rejections.append(answer.detail)

    def converged(self, connection: Connection, after_s: float) -> None:
        self.convergences.append(after_s)


def secrets_for(node: Node) -> Iterable[Secret]:
    yield Secret(name="ROOTCA")


def no_secrets(node: Node) -> Iterable[Secret]:
    raise RuntimeError("the authority is broken")


async def prove(context: Any) -> Proof:
    """The token is the name of the service account; `admin` is the administrator."""
    words = dict(context.invocation_metadata())
    token = words.get("authorization", "").removeprefix("Bearer ")
    if not token:
        return Proof(refusal="no credentials")
    if token == "admin":
        return Proof()
    return Proof(SpiffeId.workload("cluster.local", "default", token))


class Server:
    """The service on a free port, its cache and its witness."""

    def __init__(self, first: Mesh) -> None:
        self.secrets_for: Callable[[Node], Iterable[Secret]] = secrets_for
        self.cache = SnapshotCache(first, lambda node: self.secrets_for(node))
        self.witness = Witness()
        self.now = 1000.0
        self.proven = 0
        self.revoked = False
        self.seats = Seats(of_one=2)
        witnesses, clock = (self.witness,), lambda: self.now
        self.ads = AdsService(self._prove, self.cache, witnesses, clock, self.seats)
        self.server = RpcServer()
        self.server.add_generic_rpc_handlers((self.ads.handler(),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _prove(self, context: Any) -> Proof:
        found = await prove(context)
        self.proven += 1
        return Proof(refusal="revoked") if self.revoked else found

    def revoke(self) -> None:
        self.revoked = True
        self.ads.sever(lambda connection: "revoked")

    def publish(self, new: Mesh) -> None:
        self.cache.set_mesh(new)
        self.ads.publish()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(ONE)
    await made.server.start()
    yield made
    await made.server.stop(0)


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Channel]:
    # Small receive windows, so that a client that does not read holds its server up soon.
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as made:
        yield made


def open_delta(channel: Channel, token: str = "messenger") -> Any:
    call = channel.stream_stream(
        f"/{SERVICE}/DeltaAggregatedResources",
        request_serializer=DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=DeltaDiscoveryResponse.FromString,
    )
    return call(metadata=(("authorization", f"Bearer {token}"),) if token else ())


def envoy_node(account: str = "messenger", **more: Any) -> EnvoyNode:
    made = EnvoyNode(id="sidecar~1", user_agent_name="test")
    words = {"NAMESPACE": "default", "SERVICE_ACCOUNT": account, "HTTP_PROXY_PORT": "15080", **more}
    made.metadata.update(words)
    return made


async def refusal(call: Any, first: DeltaDiscoveryRequest | None = None) -> tuple[str, str]:
    await call.write(first or DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value.code().name, caught.value.details() or ""


async def test_an_agent_tells_how_its_workload_is(server: Server, channel: Channel) -> None:
    call = open_delta(channel)
    await call.write(DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
    await call.read()
    (connection,) = server.ads.connections
    assert connection.healthy is None
    ill = DeltaDiscoveryRequest(type_url=HEALTH)
    ill.error_detail.message = "the probe has failed"
    await call.write(ill)
    await eventually_async(lambda: connection.healthy is False)
    await call.write(DeltaDiscoveryRequest(type_url=HEALTH))
    await eventually_async(lambda: connection.healthy is True)
    assert server.witness.rejections == []


async def test_delta_from_first_request_to_a_change_and_its_convergence(
    server: Server, channel: Channel
) -> None:
    call = open_delta(channel)
    await call.write(DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
    first = await call.read()
    names = [r.name for r in first.resources]
    assert names == ["outbound|8080||messenger.default.svc.cluster.local"]
    await call.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=first.nonce))
    server.publish(TWO)
    second = await call.read()
    names = [r.name for r in second.resources]
    assert names == ["outbound|8080||greeter.default.svc.cluster.local"]
    server.now += 0.25
    assert server.witness.convergences == []
    await call.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=second.nonce))
    await eventually_async(lambda: server.witness.convergences)
    assert server.witness.convergences == [0.25]
    call.cancel()
    await eventually_async(lambda: not server.ads.connections)


async def test_state_of_the_world_on_the_other_method(server: Server, channel: Channel) -> None:
    call = channel.stream_stream(
        f"/{SERVICE}/StreamAggregatedResources",
        request_serializer=DiscoveryRequest.SerializeToString,
        response_deserializer=DiscoveryResponse.FromString,
    )(metadata=(("authorization", "Bearer messenger"),))
    await call.write(DiscoveryRequest(type_url=LDS, node=envoy_node()))
    response = await call.read()
    assert (response.type_url, len(response.resources)) == (LDS, 1)
    (connection,) = server.ads.connections
    assert (connection.variant, connection.identity) == ("sotw", MESSENGER)
    call.cancel()


async def test_a_stranger_is_refused_before_it_says_anything(channel: Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await open_delta(channel, "").read()
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "no credentials"


async def test_a_seat_is_kept_until_all_was_read(server: Server, channel: Channel) -> None:
    """A client may end its streams, and leave what it was told with us."""
    client = Raw(*await asyncio.open_connection("127.0.0.1", server.port))
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()).SerializeToString()
    for _ in range(2):
        path, token = f"/{SERVICE}/DeltaAggregatedResources", "Bearer messenger"
        stream = client.begin(path=path, authorization=token)
        client.h2.send_data(stream, framed(request), end_stream=True)
    client.send()
    await eventually_async(lambda: len(server.witness.pushes) == 2 and not server.ads.connections)
    code, reason = await refusal(open_delta(channel))
    assert (code, "has 2 streams open" in reason) == ("RESOURCE_EXHAUSTED", True)
    client.close()
    await eventually_async(lambda: not server.seats.take(MESSENGER))


async def test_another_ones_node_is_refused_with_the_reason(channel: Channel) -> None:
    code, reason = await refusal(open_delta(channel, "greeter"))
    assert code == "PERMISSION_DENIED"
    assert "spiffe://cluster.local/ns/default/sa/greeter" in reason
    assert "service account messenger" in reason


async def test_the_administrator_is_no_proxy(channel: Channel) -> None:
    assert (await refusal(open_delta(channel, "admin")))[0] == "PERMISSION_DENIED"


async def test_an_identity_with_too_many_streams_is_refused_until_one_ends(
    server: Server, channel: Channel
) -> None:
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node())
    open_calls = [open_delta(channel) for _ in range(2)]
    for call in open_calls:
        await call.write(request)
        await call.read()
    code, reason = await refusal(open_delta(channel), request)
    assert (code, "has 2 streams open" in reason) == ("RESOURCE_EXHAUSTED", True)
    assert len(server.ads.connections) == 2
    open_calls[0].cancel()
    await eventually_async(lambda: len(server.ads.connections) == 1, 5.0, "the stream has ended")
    again = open_delta(channel)
    await again.write(request)
    assert (await again.read()).type_url == CDS


async def test_revocation_ends_streams_also_those_that_have_said_nothing_yet(
    server: Server, channel: Channel
) -> None:
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node())
    talking, silent = open_delta(channel), open_delta(channel)
    await talking.write(request)
    await talking.read()
    await silent.wait_for_connection()
    await eventually_async(lambda: server.proven == 2, 30.0, "both streams are proven")
    server.revoke()
    await silent.write(request)
    for call in (talking, silent):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert caught.value.details() == "revoked"
    await eventually_async(lambda: not server.ads.connections, 30.0, "both streams are over")


async def test_revocation_while_a_stream_is_proven_anew_ends_it(
    server: Server, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(context: Any) -> Proof:
        found = await prove(context)
        server.proven += 1
        if server.proven == 2:
            server.revoke()  # what was found counted a moment ago
            return found
        return Proof(refusal="revoked") if server.revoked else found

    monkeypatch.setattr(server.ads, "_authenticate", late)
    call = open_delta(channel)
    await call.wait_for_connection()
    await eventually_async(lambda: server.proven == 1, 60.0, "it is proven")
    server.ads.sever(lambda connection: "")
    assert (await refusal(call)) == ("UNAUTHENTICATED", "revoked")


async def test_who_waits_for_what_is_prepared_has_a_seat(server: Server, channel: Channel) -> None:
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node())
    calls = [open_delta(channel) for _ in range(2)]
    async with server.ads._one_by_one, asyncio.timeout(60):
        for call in calls:
            await call.write(request)
        waiting = server.ads._preparing.values()
        await eventually_async(lambda: [one.waiting for one in waiting] == [2], 60.0, "two wait")
        code, reason = await refusal(open_delta(channel), request)
    assert (code, "has 2 streams open" in reason) == ("RESOURCE_EXHAUSTED", True)
    for call in calls:
        assert (await call.read()).type_url == CDS


async def test_a_stream_without_a_node_is_refused(channel: Channel) -> None:
    answer = await refusal(open_delta(channel), DeltaDiscoveryRequest(type_url=CDS))
    assert answer == ("INVALID_ARGUMENT", "the first request of a stream carries no node")


async def test_a_bad_node_is_refused_naming_the_field(channel: Channel) -> None:
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node(HTTP_PROXY_PORT="many"))
    code, reason = await refusal(open_delta(channel), request)
    assert code == "INVALID_ARGUMENT"
    assert "node.metadata.HTTP_PROXY_PORT: 'many' is not a port number" in reason


async def test_bytes_that_are_no_request_end_the_stream_only(
    server: Server, channel: Channel
) -> None:
    call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")(
        metadata=(("authorization", "Bearer messenger"),)
    )
    await call.write(b"\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not server.ads.connections


async def test_a_large_first_request_is_taken(channel: Channel) -> None:
    """gRPC's default limit is 4 MB; a delta client names all that it has."""
    call = open_delta(channel)
    have = {
        f"outbound|8080||service-{i}.default.svc.cluster.local": "x" * 16 for i in range(70_000)
    }
    request = DeltaDiscoveryRequest(type_url=CDS, node=envoy_node(), initial_resource_versions=have)
    assert request.ByteSize() > 5 << 20
    await call.write(request)
    response = await call.read()
    assert len(response.removed_resources) == 70_000
    call.cancel()


async def test_a_nack_reaches_the_observers(server: Server, channel: Channel) -> None:
    call = open_delta(channel)
    await call.write(DeltaDiscoveryRequest(type_url=LDS, node=envoy_node()))
    first = await call.read()
    nack = DeltaDiscoveryRequest(type_url=LDS, response_nonce=first.nonce)
    nack.error_detail.message = "no such filter"
    await call.write(nack)
    await eventually_async(lambda: server.witness.rejections == ["no such filter"])
    (connection,) = server.ads.connections
    assert connection.machine.rejections == {LDS: {"127.0.0.1_15080": "no such filter"}}
    call.cancel()


async def test_a_client_that_does_not_read_gets_only_the_last_of_many_changes(
    server: Server, channel: Channel
) -> None:
    """And does not hold up another."""
    rounds = 25
    slow, fast = open_delta(channel), open_delta(channel)
    nonce = ""
    for call in (slow, fast):
        await call.write(DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
        nonce = (await call.read()).nonce
        await call.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=nonce))
    for number in range(1, rounds + 1):
        services = [service(f"service-{i}", endpoint(9000), port=number) for i in range(300)]
        server.publish(mesh(*services))
        changed = await fast.read()
        assert f"outbound|{number}||" in changed.resources[0].name
        await fast.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=changed.nonce))
        # What is gone comes after the acknowledgement, in a response of its own.
        removal = await fast.read()
        await fast.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=removal.nonce))
    reads = 0
    latest = 0
    while latest < rounds:
        response = await slow.read()
        latest = int(response.resources[0].name.split("|")[1])
        reads += 1
    assert reads < rounds, reads
    slow.cancel()
    fast.cancel()


async def test_a_secret_is_sent_on_the_same_stream(channel: Channel) -> None:
    call = open_delta(channel)
    await call.write(
        DeltaDiscoveryRequest(
            type_url=SDS, node=envoy_node(), resource_names_subscribe=["ROOTCA", "default"]
        )
    )
    response = await call.read()
    assert [r.name for r in response.resources] == ["ROOTCA"]
    call.cancel()


async def test_a_renewed_secret_reaches_an_open_stream_and_nothing_else_is_sent(
    server: Server, channel: Channel
) -> None:
    call = open_delta(channel)
    await call.write(DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
    clusters = await call.read()
    await call.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=clusters.nonce))
    names = ["ROOTCA", "default"]
    await call.write(DeltaDiscoveryRequest(type_url=SDS, resource_names_subscribe=names))
    first = await call.read()
    server.secrets_for = lambda node: (Secret(name="ROOTCA"), Secret(name="default"))
    server.ads.publish()
    second = await call.read()
    assert [r.name for r in second.resources] == ["default"]
    for response in (first, second):
        await call.write(DeltaDiscoveryRequest(type_url=SDS, response_nonce=response.nonce))
    await eventually_async(lambda: all(c.machine.synced for c in server.ads.connections))
    assert server.witness.pushes == [CDS, SDS, SDS]
    call.cancel()


async def test_a_stream_whose_change_fails_ends_and_does_not_stay_deaf(
    server: Server, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    call = open_delta(channel)
    await call.write(DeltaDiscoveryRequest(type_url=CDS, node=envoy_node()))
    await call.read()
    server.secrets_for = no_secrets
    server.ads.publish()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "the authority is broken" in (caught.value.details() or "")
    assert "stream ended node=sidecar~1" in caplog.text
    await eventually_async(lambda: not server.ads.connections)


async def test_a_stream_may_not_ask_for_names_without_end(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_NAMES", 20)
    call = open_delta(channel)
    node, names = envoy_node(), [f"http_proxy/{number}" for number in range(15)]
    first = DeltaDiscoveryRequest(type_url=VHDS, node=node, resource_names_subscribe=names)
    await call.write(first)
    assert len((await call.read()).resources) == 15
    more = [f"made-up-{number}" for number in range(15)]
    again = DeltaDiscoveryRequest(type_url=VHDS, resource_names_subscribe=more)
    code, reason = await refusal(call, again)
    assert (code, "no more than 20" in reason) == ("RESOURCE_EXHAUSTED", True)
