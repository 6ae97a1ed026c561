"""The helpers themselves, door to door: client, upstream and the judge between them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.client import Client, chunked_body
from tests.support.envoy import envoy
from tests.support.pki import Authority
from tests.support.ports import free_port
from tests.support.process import ProcessFailed
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async


async def test_upstream_answers_in_order_and_remembers_bytes() -> None:
    script = [
        Answer(201, [("x", "1")], b"one"),
        Answer(chunks=[b"a", b"bc"], trailers=[("t", "v")]),
    ]
    async with Upstream(script) as upstream, Client(upstream.port) as client:
        first = await client.request("POST", "/1", body=b"hello")
        second = await client.request("GET", "/2")
    assert first is not None and second is not None
    assert (first.status, first.body, first.get("X")) == (201, b"one", "1")
    assert (second.body, second.trailers) == (b"abc", [("t", "v")])
    assert [message.body for message in upstream.requests] == [b"hello", b""]
    assert upstream.received.startswith(b"POST /1 HTTP/1.1\r\nhost: weft.test\r\ncontent-length: 5")


async def test_a_chunked_request_is_read_whole() -> None:
    async with Upstream() as upstream, Client(upstream.port) as client:
        headers = [("transfer-encoding", "chunked")]
        await client.request("PUT", "/", headers, chunked_body([b"ab", b"c"], [("t", "v")]))
    assert upstream.requests[0].body == b"abc"
    assert upstream.requests[0].trailers == [("t", "v")]


@pytest.mark.parametrize("answer", [Answer(body=b"12345", cut=45), Answer(body=b"1", cut=0)])
async def test_a_cut_answer_is_incomplete_or_absent(answer: Answer) -> None:
    async with Upstream([answer]) as upstream, Client(upstream.port) as client:
        message = await client.request("GET", "/")
        assert await client.closed()
    assert message is None or not message.complete


async def test_never_answers_until_the_client_goes() -> None:
    async with Upstream([Answer(never=True)]) as upstream, Client(upstream.port) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        await eventually_async(lambda: upstream.requests, what="the request at the upstream")
        assert not await client.closed(deadline_s=0.05)


async def test_envoy_starts_says_ready_and_stops(tmp_path: Path) -> None:
    with envoy({}, tmp_path) as judge:
        assert judge.admin("/ready").body == "LIVE\n"
        assert judge.stats()["server.live"] == 1


def test_a_proxy_that_refuses_its_bootstrap_fails_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="no_such_field"), envoy({"no_such_field": 1}, tmp_path):
        pass


def test_a_test_authority_makes_chains_that_openssl_accepts(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue(uris=("spiffe://t/ns/a/sa/b",), dns=("localhost",), ips=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(tmp_path, "leaf"))
    context.load_verify_locations(cadata=authority.pem)
    assert free_port() > 0
