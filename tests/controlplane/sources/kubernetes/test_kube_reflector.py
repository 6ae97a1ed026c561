"""List, watch, and again: what a reflector asks and tells when a server does what servers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from controlplane.sources.kubernetes.answers import ApiError, Broken
from tests.support.kube_cluster import Cluster
from tests.support.kube_direct import Reflected, gone

Start = Callable[..., Reflected]


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    for name in "abcde":
        put(made, name)
    return made


@pytest.fixture
async def start(cluster: Cluster) -> AsyncIterator[Start]:
    started: list[Reflected] = []

    def begin(**options: object) -> Reflected:
        started.append(Reflected.start(cluster, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for one in started:
        await one.stop()


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never does")


def put(cluster: Cluster, name: str, **spec: object) -> None:
    cluster.create(cluster.named("services"), "default", {"metadata": {"name": name}, "spec": spec})


def change(cluster: Cluster, name: str, **spec: object) -> None:
    kind, key = cluster.named("services"), ("default", name)
    cluster.update(kind, key, {**cluster.get(kind, key), "spec": spec})


def delete(cluster: Cluster, name: str) -> None:
    cluster.delete(cluster.named("services"), ("default", name))


async def test_pages_then_a_watch_from_there(cluster: Cluster, start: Start) -> None:
    one = start()
    await one.settle()
    lists = [asked for asked in one.api.asked if "watch" not in asked]
    assert [asked["limit"] for asked in lists] == ["250"] * 3
    assert ["continue" in asked for asked in lists] == [False, True, True]
    (watch,) = [asked for asked in one.api.asked if "watch" in asked]
    assert watch["resourceVersion"] == str(cluster.revision)
    assert watch["allowWatchBookmarks"] == "true"
    assert 240 <= int(watch["timeoutSeconds"]) <= 480
    assert one.heard.lists == ["start"]


async def test_changes_are_told(cluster: Cluster, start: Start) -> None:
    one = start()
    await one.settle()
    put(cluster, "f")
    change(cluster, "a", x=1)
    delete(cluster, "b")
    await one.settle()
    assert [event.type for event in one.heard.events] == ["ADDED", "MODIFIED", "DELETED"]
    assert one.heard.lists == ["start"]


@pytest.mark.parametrize("cleanly", [True, False])
async def test_a_watch_that_ends_goes_on(cluster: Cluster, start: Start, cleanly: bool) -> None:
    one = start()
    await one.settle()
    cluster.cut(cleanly=cleanly)
    put(cluster, "f")
    delete(cluster, "a")
    await one.settle()
    assert one.heard.lists == ["start"], "no need to list again"


async def test_what_was_lost_with_a_connection_is_told_again(
    cluster: Cluster, start: Start
) -> None:
    one = start()
    await one.settle()
    put(cluster, "f")
    put(cluster, "g")
    cluster.rearrange(lambda events: [events[1]])  # the first is still under way
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(one.heard.state) == 6
    changes = one.heard.changes
    cluster.cut(cleanly=False)
    await one.settle()
    assert one.heard.changes == changes + 1, "what is told twice changes nothing"


@pytest.mark.parametrize("how", ["event", "status"])
async def test_410_lists_again_and_sees_what_has_gone(
    cluster: Cluster, start: Start, how: str
) -> None:
    one = start()
    await one.settle()
    cluster.cut(pending=False)
    delete(cluster, "a")
    change(cluster, "b", x=1)
    cluster.compact()
    put(cluster, "z")
    cluster.compact()
    if how == "status":
        one.api.fail.append(gone())
    await one.settle()
    assert one.heard.lists == ["start", "expired"]
    assert not one.heard.failures, "410 is no failure"


async def test_a_continue_token_that_expires_is_followed_by_a_whole_list(
    cluster: Cluster, start: Start
) -> None:
    one = start()
    one.api.fail += [None, gone()]
    await one.settle()
    lists = [asked for asked in one.api.asked if "watch" not in asked]
    assert [sorted(asked) for asked in lists] == [["limit"], ["continue", "limit"], []]


async def test_failures_wait_longer_each_time_and_then_it_goes_on(
    cluster: Cluster, start: Start
) -> None:
    one = start()
    away = ConnectionRefusedError("refused")
    one.api.fail += [away, TimeoutError(), ApiError(500, "InternalError", "etcd"), Broken("?")]
    await one.settle()
    assert one.clock.slept_s[:4] == [0.25, 0.5, 1.0, 2.0]
    assert not one.heard.failures, "told as over"


async def test_what_the_server_asks_for_is_waited_for(cluster: Cluster, start: Start) -> None:
    one = start()
    one.api.fail += [ApiError(429, "TooManyRequests", "slow down", 7.0)]
    await one.settle()
    assert one.clock.slept_s[0] == 7.0


async def test_watches_that_end_at_once_are_not_asked_for_without_a_pause(
    cluster: Cluster, start: Start
) -> None:
    one = start()
    await one.settle()
    for _ in range(5):
        cluster.cut()
        for _ in range(10):
            await asyncio.sleep(0)
    assert one.clock.slept_s[-3:] == [1.0, 2.0, 4.0]


async def test_a_version_that_this_server_does_not_know_yet(cluster: Cluster, start: Start) -> None:
    one = start()
    await one.settle()
    cluster.cut()
    one.api.fail.append(ApiError(504, "ResourceVersionTooLarge", "Too large resource version"))
    change(cluster, "a", x=2)
    await one.settle()
    assert one.heard.lists == ["start", "expired"]


async def test_an_error_of_our_own_ends_nothing(cluster: Cluster, start: Start) -> None:
    one = start()
    await one.settle()
    one.heard.breaks = KeyError("a bug")
    put(cluster, "f")
    await one.settle()
    assert one.heard.lists[0] == "start" and len(one.heard.lists) == 2


async def test_an_event_of_an_unknown_type_breaks_the_watch(cluster: Cluster, start: Start) -> None:
    one = start()
    await one.settle()
    cluster.watches[0].queue.put_nowait({"type": "NEWS", "object": {"metadata": {}}})
    for _ in range(5):
        await asyncio.sleep(0)
    change(cluster, "a", x=2)
    await one.settle()
    assert one.heard.lists == ["start"]


# --------------------------------------------------------------------------- streaming lists


async def test_a_streaming_list_and_the_watch_are_one(cluster: Cluster, start: Start) -> None:
    one = start(streaming=True)
    await one.settle()
    (asked,) = one.api.asked
    assert (asked["sendInitialEvents"], asked["resourceVersionMatch"]) == ("true", "NotOlderThan")
    put(cluster, "f")
    await one.settle()
    assert one.heard.lists == ["start"]
    assert one.reflector.replica.resume == str(cluster.revision - 1)


async def test_a_streaming_list_sees_what_has_gone(cluster: Cluster, start: Start) -> None:
    one = start(streaming=True)
    await one.settle()
    cluster.cut(pending=False)
    delete(cluster, "a")
    cluster.compact()
    put(cluster, "z")
    cluster.compact()
    await one.settle()
    assert one.heard.lists == ["start", "expired"]


async def test_without_streaming_lists_it_lists(cluster: Cluster, start: Start) -> None:
    cluster.streaming_lists = False
    one = start(streaming=True)
    await one.settle()
    cluster.compact()
    cluster.expire_watches()
    await one.settle()
    streamed = [asked for asked in one.api.asked if "sendInitialEvents" in asked]
    assert len(streamed) == 1, "once is enough to know"
    assert not one.heard.failures


async def test_a_server_that_knows_no_streaming_lists_never_ends_one(
    cluster: Cluster, start: Start
) -> None:
    one = start(streaming=True, initial_idle_s=0.01)
    watch = cluster.watch
    cluster.watch = lambda kind, query, matches: watch(  # type: ignore[method-assign]
        kind, {k: v for k, v in query.items() if k != "sendInitialEvents"}, matches
    )
    async with asyncio.timeout(20):
        while len(one.api.asked) < 2:  # noqa: ASYNC110 -- a real timeout of the reflector's
            await asyncio.sleep(0.005)
    await one.settle()
    assert one.heard.lists == ["start"]


async def test_a_streaming_list_that_breaks_off_is_no_list(cluster: Cluster, start: Start) -> None:
    one = start(streaming=True)
    await _until(lambda: bool(cluster.watches))
    cluster.rearrange(lambda events: events[:2], bookmarks=False)
    cluster.cut()
    await one.settle()
    assert (one.heard.lists, len(one.api.asked)) == (["start"], 2)
