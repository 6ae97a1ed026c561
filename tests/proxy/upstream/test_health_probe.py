"""Probes against real upstreams: what they ask, what they find, which connections they keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.config.model import GrpcCheck, HttpCheck, SocketAddress, TcpCheck
from proxy.upstream.health_judge import Found
from proxy.upstream.health_probe import (
    HttpProbe,
    Probe,
    Target,
    TcpProbe,
    grpc_probe,
    http2_probe,
)
from tests.support.h2_upstream import H2Upstream
from tests.support.ports import free_port
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async


def target(port: int, reuse: bool = True) -> Target:
    return Target(SocketAddress("127.0.0.1", port), None, (), b"shop", reuse, 1.0)


async def asked(probe: Probe, times: int = 1) -> list[str]:
    found = [await probe.check() for _ in range(times)]
    probe.close()
    return [one.finding for one in found]


async def test_http_asks_as_envoy_does() -> None:
    async with Upstream() as upstream:
        probe = HttpProbe(HttpCheck("/ready?x=1"), target(upstream.port), None)
        assert await asked(probe) == ["good"]
    assert (
        upstream.received
        == b"GET /ready?x=1 HTTP/1.1\r\nhost: shop\r\nuser-agent: Envoy/HC\r\n\r\n"
    )


@pytest.mark.parametrize("reuse, connections", [(True, 1), (False, 3)])
async def test_http_keeps_its_connection_if_it_may(reuse: bool, connections: int) -> None:
    async with Upstream() as upstream:
        probe = HttpProbe(HttpCheck("/"), target(upstream.port, reuse), None)
        assert await asked(probe, 3) == ["good"] * 3
        assert len(upstream.wires) == connections


async def test_http_connects_again_when_the_host_has_closed() -> None:
    async with Upstream([Answer(close=True)]) as upstream:
        probe = HttpProbe(HttpCheck("/"), target(upstream.port), None)
        first = await probe.check()
        await eventually_async(lambda: not probe._wire.usable)
        assert [first.finding, *await asked(probe)] == ["good", "good"]
        assert len(upstream.wires) == 2


@pytest.mark.parametrize(
    "answer", [Answer(raw=b"", close=True), Answer(raw=b"nonsense\r\n\r\n"), Answer(cut=20)]
)
async def test_what_is_no_answer_is_the_network_s(answer: Answer) -> None:
    async with Upstream([answer]) as upstream:
        assert await asked(HttpProbe(HttpCheck("/"), target(upstream.port), None)) == ["network"]


async def test_http_sends_a_body_and_reads_one() -> None:
    check = HttpCheck("/", method="POST", send=b"how are you", receive=(b"fine",))
    async with Upstream([Answer(chunks=[b"I am fi", b"ne"])]) as upstream:
        assert await asked(HttpProbe(check, target(upstream.port), None)) == ["good"]
        assert upstream.requests[0].body == b"how are you"


@pytest.mark.parametrize(
    "answers, found",
    [
        ([Answer()], Found("good")),
        ([Answer(status=503)], Found("wrong", status=503)),
        ([Answer(reset_code="REFUSED_STREAM")], Found("network")),
    ],
)
async def test_http2(answers: list[Answer], found: Found) -> None:
    async with H2Upstream(tuple(answers)) as upstream:
        probe = http2_probe(HttpCheck("/ready"), target(upstream.port), None)
        assert await probe.check() == found
        probe.close()


async def test_a_connection_that_breaks_is_for_the_caller() -> None:
    async with H2Upstream((Answer(reset=True),)) as upstream:
        with pytest.raises(OSError):
            await http2_probe(HttpCheck("/ready"), target(upstream.port), None).check()


async def test_http2_keeps_its_connection() -> None:
    async with H2Upstream() as upstream:
        probe = http2_probe(HttpCheck("/ready"), target(upstream.port), None)
        assert await asked(probe, 3) == ["good"] * 3
        assert len(upstream.connections) == 1


def grpc(status: int, **fields: Any) -> Answer:
    body = b"\0\0\0\0\x02\x08" + bytes((status,))
    return Answer(
        headers=[("content-type", "application/grpc")],
        chunks=[body],
        trailers=[("grpc-status", "0")],
        **fields,
    )


@pytest.mark.parametrize("status, finding", [(1, "good"), (2, "wrong"), (0, "wrong")])
async def test_grpc(status: int, finding: str) -> None:
    async with H2Upstream((grpc(status),)) as upstream:
        probe = grpc_probe(GrpcCheck("cart"), replace(target(upstream.port), timeout_s=0.25))
        assert await asked(probe) == [finding]
        (request,) = upstream.requests
        assert request.start == "POST /grpc.health.v1.Health/Check HTTP/2"
        assert request.body == b"\0\0\0\0\x06\x0a\x04cart"
        assert ("grpc-timeout", "250m") in request.headers


async def test_tcp_needs_a_connection_only() -> None:
    async with Upstream() as upstream:
        assert await asked(TcpProbe(TcpCheck(b"never sent"), target(upstream.port))) == ["good"]
    with pytest.raises(OSError):
        await TcpProbe(TcpCheck(), target(free_port())).check()


async def test_tcp_looks_for_what_must_come() -> None:
    check = TcpCheck(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", (b"200", b"length"))
    async with Upstream() as upstream:
        assert await asked(TcpProbe(check, target(upstream.port)), 2) == ["good", "good"]
        assert len(upstream.wires) == 1
    async with Upstream([Answer(status=404, close=True)]) as upstream:
        assert await asked(TcpProbe(check, target(upstream.port))) == ["network"]
