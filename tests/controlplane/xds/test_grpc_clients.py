"""gRPC's own clients and servers on our configuration: they resolve, balance, fail over, follow
rules and speak mutual TLS."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from certs.authority import Authority
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from controlplane.mesh.model import (
    ConsistentHash,
    Destination,
    Endpoint,
    Fault,
    HttpRule,
    Mesh,
    OutlierDetection,
    Retry,
    Rewrite,
    RouteMatch,
    Service,
    StringMatch,
    Subset,
    TrafficPolicy,
)
from controlplane.mesh.policy import AccessPolicy, Clause, Fact, Match, Rule, Security, Value
from controlplane.xds.cache import SnapshotCache
from protos.types import EDS, LDS, RDS
from tests.support.grpc_xds import (
    GrpcJudge,
    GrpcProgram,
    echo_server,
    grpc_judging,
    grpc_program,
    write_bootstrap,
)
from tests.support.mesh import (
    TRUST_DOMAIN,
    endpoint,
    identity,
    inbound,
    mesh,
    node,
    service,
    workload,
)
from tests.support.ports import Reservation
from tests.support.wait import POLL_S

HOST = "greeter.default.svc.cluster.local"
TARGET = f"xds:///{HOST}:8080"
V1, V2 = Subset("v1", {"version": "v1"}), Subset("v2", {"version": "v2"})
Answers = list[tuple[str, str]]


def greeter(*endpoints: Endpoint, rules: tuple[HttpRule, ...] = ()) -> Service:
    return service("greeter", *endpoints, protocol="GRPC", subsets=(V1, V2), rules=rules)


def plain(port: int, version: str) -> Endpoint:
    return endpoint(port, mesh=False, labels={"version": version})


def to(subset: str, weight: int = 100) -> Destination:
    return Destination(HOST, weight=weight, subset=subset)


class Client:
    """A program on the judge's control plane, asked from the judge's loop."""

    def __init__(self, judge: GrpcJudge, program: GrpcProgram) -> None:
        self.judge = judge
        self._program = program

    async def calls(self, count: int = 1, target: str = TARGET, **words: Any) -> Answers:
        return await asyncio.to_thread(self._program.call, target, count, **words)

    async def until(self, *wanted: str, **words: Any) -> None:
        """Calls until the answers begin so: what is shown comes when it comes."""
        deadline = time.monotonic() + 60
        while True:
            found = [f"{code} {text}" for code, text in await self.calls(len(wanted), **words)]
            if all(map(str.startswith, found, wanted)):
                return
            assert time.monotonic() < deadline, found
            await asyncio.sleep(POLL_S)

    async def serve(self, address: str, name: str) -> None:
        await asyncio.to_thread(self._program.order, serve=address, **{"as": name})


@asynccontextmanager
async def running(tmp_path: Path, first: Mesh, **words: Any) -> AsyncIterator[Client]:
    async with grpc_judging() as judge:
        judge.show(first)
        uri = f"127.0.0.1:{judge.port}"
        path = write_bootstrap(tmp_path / "bootstrap.json", uri, **words)
        with grpc_program(path) as program:
            yield Client(judge, program)


def names(answers: Sequence[tuple[str, str]]) -> Counter[str]:
    return Counter(text.split()[0] for _, text in answers)


def test_it_resolves_balances_and_goes_elsewhere_when_an_endpoint_goes(tmp_path: Path) -> None:
    async def scenario(one: int, other: int, stack: ExitStack) -> None:
        both = mesh(greeter(plain(one, "v1"), plain(other, "v2")))
        async with running(tmp_path, both) as client:
            await client.until("OK two from nobody")
            assert set(names(await client.calls(20))) == {"one", "two"}
            for name in ("greeter:8080", "greeter", "greeter.default:8080"):
                assert (await client.calls(target=f"xds:///{name}"))[0][0] == "OK", name
            stack.close()  # the first of them is no more, and nobody has said so
            await client.until(*["OK two from nobody"] * 4)
            client.judge.show(mesh(greeter(plain(one, "v1"))))
            await client.until("UNAVAILABLE", timeout=1.0)

    with echo_server("two") as other, ExitStack() as stack:
        one = stack.enter_context(echo_server("one"))
        asyncio.run(scenario(one, other, stack))


def test_rules_decide_by_method_headers_and_share(tmp_path: Path) -> None:
    def rule(*matches: RouteMatch, **facts: Any) -> HttpRule:
        return HttpRule(matches, **facts)

    by_header = RouteMatch(headers={"x-user": StringMatch("exact", "jason")})
    failing = RouteMatch(headers={"x-fail": None})
    by_method = RouteMatch(uri=StringMatch("prefix", "/weft.test.Other"), whole_segments=True)
    slow = RouteMatch(headers={"x-slow": StringMatch("prefix", "y")})
    rules = (
        rule(by_header, destinations=(to("v2"),)),
        rule(
            failing,
            destinations=(to("v1"),),
            fault=Fault(abort_grpc=8, abort_percent=100.0),
        ),
        rule(slow, destinations=(to("v1"),), fault=Fault(5.0, 100.0), timeout_s=0.2),
        rule(by_method, destinations=(to("v2"),)),
        rule(destinations=(to("v1", 3), to("v2", 1)), retry=Retry(2, retry_on=("unavailable",))),
    )

    async def scenario(one: int, two: int) -> None:
        shown = mesh(greeter(plain(one, "v1"), plain(two, "v2"), rules=rules))
        async with running(tmp_path, shown) as client:
            shares = names(await client.calls(200))
            assert set(shares) == {"one", "two"}
            assert 10 < shares["two"] < 100
            user = await client.calls(4, metadata=[("x-user", "jason")])
            assert names(user) == {"two": 4}
            assert (await client.calls(metadata=[("x-fail", "1")]))[0][0] == "RESOURCE_EXHAUSTED"
            assert (await client.calls(metadata=[("x-slow", "yes")]))[0][0] == "DEADLINE_EXCEEDED"
            other = await client.calls(method="/weft.test.Other/Say")
            assert other[0][0] == "UNIMPLEMENTED"

    with echo_server("one") as one, echo_server("two") as two:
        asyncio.run(scenario(one, two))


def test_names_hashes_and_far_places_lead_to_endpoints(tmp_path: Path) -> None:
    def by_names(name: str, *ports: int) -> Service:
        places = [Endpoint("localhost", {8080: port}) for port in ports]
        return service(name, *places, protocol="GRPC", resolution="DNS", external=True)

    def far(region: str, port: int) -> Endpoint:
        return endpoint(port, mesh=False, locality=(region, "", ""))

    async def scenario(one: int, two: int, nobody: int) -> None:
        key = ConsistentHash(header="x-user")
        shown = mesh(
            by_names("named", one),
            by_names("several", two, nobody),
            service(
                "hashed",
                plain(one, "v1"),
                plain(two, "v2"),
                protocol="GRPC",
                policy=TrafficPolicy(hash=key),
            ),
            service(
                "near",
                far("here", nobody),
                far("there", two),
                protocol="GRPC",
                policy=TrafficPolicy(outlier=OutlierDetection(consecutive_5xx=5)),
            ),
        )
        async with running(tmp_path, shown, locality={"region": "here"}) as client:

            async def asked(name: str, **words: Any) -> Counter[str]:
                return names(await client.calls(8, f"xds:///{name}:8080", **words))

            assert await asked("named") == {"one": 8}
            assert await asked("several") == {"two": 8}
            assert await asked("near") == {"two": 8}
            users = [await asked("hashed", metadata=[("x-user", str(n))]) for n in range(12)]
            assert all(len(found) == 1 for found in users), "a user has one server"
            assert len({name for found in users for name in found}) == 2

    with echo_server("one") as one, echo_server("two") as two, Reservation() as ports:
        asyncio.run(scenario(one, two, ports.port()))


def test_an_endpoint_that_fails_is_left_alone(tmp_path: Path) -> None:
    outlier = OutlierDetection(
        consecutive_5xx=3, interval_s=0.1, base_ejection_time_s=300.0, max_ejection_percent=50
    )

    async def scenario(good: int, bad: int) -> None:
        policy = TrafficPolicy(outlier=outlier)
        both = service(
            "greeter", plain(good, "v1"), plain(bad, "v2"), protocol="GRPC", policy=policy
        )
        async with running(tmp_path, mesh(both)) as client:
            await client.until("UNAVAILABLE bad")
            await client.until(*["OK good"] * 20)

    with echo_server("good") as good, echo_server("bad", failing=True) as bad:
        asyncio.run(scenario(good, bad))


def test_mutual_tls_and_policies_between_clients_and_servers_of_grpc(tmp_path: Path) -> None:
    authority = Authority.create(TRUST_DOMAIN, time.time())
    files = certificates(tmp_path, authority)

    async def scenario(port: int) -> None:
        inbound_port = replace(inbound(port, port, protocol="GRPC"), numbers=(port,))
        server = workload("messenger-1", inbound_port)
        there = endpoint(port, account="messenger")
        shown = replace(mesh(greeter(there)), workloads=(server,))
        async with running(tmp_path, shown, certificates=files) as client:
            await client.serve(f"127.0.0.1:{port}", "server")
            ours = f"OK server from {identity('messenger')}"
            await client.until(ours)
            client.judge.show(replace(shown, security=denying("/weft.test.Echo/Say")))
            await client.until("PERMISSION_DENIED")
            client.judge.show(replace(shown, security=denying("/weft.test.Echo/Other")))
            await client.until(ours)
            imposter = greeter(endpoint(port, account="somebody-else"))
            client.judge.show(replace(mesh(imposter), workloads=(server,)))
            await client.until("UNAVAILABLE", timeout=5.0)  # not who was to answer

    with Reservation() as ports:
        asyncio.run(scenario(ports.port()))


def certificates(folder: Path, authority: Authority) -> dict[str, str]:
    key = generate_key()
    messenger = SpiffeId.workload(TRUST_DOMAIN, "default", "messenger")
    issued = authority.issue(key.public_key(), messenger, 3600.0, time.time())
    contents = {
        "private_key_file": key_to_pem(key),
        "certificate_file": issued.pems[0].encode(),
        "ca_certificate_file": authority.bundle.to_pem(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def denying(path: str) -> Security:
    value = Value(path, (Fact("path", Match("exact", path)),))
    rule = Rule(0, operations=((Clause("paths", "path", (value,)),),))
    return Security(access=(AccessPolicy("default", "no", "DENY", (rule,)),))


def test_what_grpc_does_without_is_told_of_what_it_calls() -> None:
    rules = (HttpRule((), (Destination(HOST),), rewrite=Rewrite("/elsewhere")),)
    called, other = greeter(rules=rules), service("other", protocol="GRPC", rules=rules)
    cache = SnapshotCache(mesh(called, other), lambda node: ())
    client = node(dialect="grpc")
    assert cache.proxyless.statuses() == ()
    assert cache.proxyless.note(client, [f"outbound|8080||{HOST}", "greeter:8080"])
    assert not cache.proxyless.note(replace(client, id="another"), [f"outbound|8080||{HOST}"])
    (told,) = cache.proxyless.statuses()
    assert (told.object, told.code) == ("Service default/greeter", "NotForGrpc")
    assert told.message == "gRPC clients know no rewrites"
    cache.set_mesh(mesh(greeter(), other))
    assert cache.proxyless.statuses() == ()


def test_nodes_that_are_alike_share_what_is_made() -> None:
    services = [service(f"s{number}", endpoint(9000)) for number in range(3)]
    cache = SnapshotCache(mesh(*services), lambda node: ())
    one, other = (node(name, dialect="grpc") for name in ("one", "other"))
    first = cache.snapshot(one)
    assert cache.snapshot(replace(one, id="twin")) is first
    assert cache.snapshot(other).of(RDS) is first.of(RDS)
    services[0] = replace(services[0], endpoints=(endpoint(9001),))
    cache.set_mesh(mesh(*services))
    second = cache.snapshot(one)
    assert second.of(LDS) is first.of(LDS)
    name = "outbound|8080||s0.default.svc.cluster.local"
    assert second.of(EDS).changed_from(first.of(EDS)) == {name}
    cache.set_mesh(mesh(*services))
    assert cache.snapshot(one) is second
