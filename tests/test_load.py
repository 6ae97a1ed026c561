"""The load generator notices every kind of failed request; else the tests with it prove nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.load import Load, versions
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async

GOOD = Answer(body=b'{"version": "v1"}')


async def flow(port: int, count: int) -> Load:
    """Ended after `count` answers."""
    flowing = Load(port, "messenger")
    try:
        await eventually_async(lambda: len(flowing.answers) >= count, what=f"{count} answers")
    finally:
        await asyncio.to_thread(flowing.stop)
    return flowing


async def test_good_answers_are_counted_by_version() -> None:
    async with Upstream([GOOD]) as peer:
        flowed = await flow(peer.port, 50)
        assert len(peer.wires) <= 8
    assert flowed.failures == []
    assert versions(flowed.since(0.0)) == Counter(v1=len(flowed.answers))


@pytest.mark.parametrize(
    ("bad", "status"),
    [(Answer(status=503, body=b"x"), 503), (Answer(cut=0), 0), (Answer(body=b"x" * 9, cut=60), 0)],
    ids=["status", "no answer", "half an answer"],
)
async def test_a_bad_answer_is_a_failed_request(bad: Answer, status: int) -> None:
    async with Upstream([GOOD, bad, GOOD]) as peer:
        flowed = await flow(peer.port, 20)
    assert [one.status for one in flowed.failures] == [status]


async def test_an_announced_close_is_no_failure() -> None:
    last = Answer(body=GOOD.body, headers=[("Connection", "close")], close=True)
    async with Upstream([last]) as peer:
        flowed = await flow(peer.port, 20)
    assert flowed.failures == []


async def test_nobody_there_is_a_failed_request() -> None:
    async with Upstream([GOOD]) as peer:
        port = peer.port
    flowed = await flow(port, 5)
    assert len(flowed.failures) == len(flowed.answers)
    assert "ConnectionRefusedError" in flowed.failures[0].text
