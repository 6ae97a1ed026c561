"""Memory is bounded: small versions of what `python -m tests.resources` measures in full."""

from __future__ import annotations

from tests.resources.measure import (
    MB,
    configured_bytes,
    download,
    idle_connection_bytes,
    streams_at_once,
    upload,
)
from tests.support.weft_proxy import weft_proxy

BODY = 64 * MB
FAST = 256 * MB  # bytes a second: what matters is the stall before


async def test_a_client_that_stalls_does_not_make_the_proxy_grow() -> None:
    assert await download(weft_proxy, BODY, FAST, stall_s=0.5) < 10 * MB


async def test_an_upstream_that_stalls_does_not_make_the_proxy_grow() -> None:
    assert await upload(weft_proxy, BODY, FAST, stall_s=0.5) < 10 * MB


async def test_an_idle_connection_costs_less_than_8_kb() -> None:
    assert await idle_connection_bytes(weft_proxy, 400) < 8192


async def test_a_cluster_with_its_virtual_host_costs_less_than_in_envoy() -> None:
    assert await configured_bytes(weft_proxy, 300) < 52_000


async def test_a_thousand_streams_of_one_connection_are_all_answered() -> None:
    answers = await streams_at_once(weft_proxy, 1000)
    assert {answer.start for answer in answers} == {"HTTP/2 200"}
    assert {len(answer.body) for answer in answers} == {1024}
    assert len({answer.body for answer in answers}) == 1000, "each has an answer of its own"
