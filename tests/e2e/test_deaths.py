"""Processes of a running mesh are killed while requests flow: what its users see of it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.support.laptop import alive
from tests.support.load import Load, load
from tests.support.members import control_plane, kill
from tests.support.postcard import EVERYBODY, Postcard
from tests.support.wait import eventually
from weft import loopback

pytestmark = pytest.mark.timeout(300)

MISSING = "no messenger"
PROMISED_S = 2.0
# A busy machine may be slow once; a mesh that is slow is slow each time.
ROUNDS = 3
FIRST = ("messenger-v1", "messenger-v1-2")


@pytest.fixture
def whole(postcard: Postcard) -> Postcard:
    """With every workload in its place, whatever the test before has killed. The greeter's sidecar
    knows messengers when it has called one."""
    eventually(lambda: postcard.up.get("greeter.localhost").status == 200, 60, "a page")
    eventually(lambda: all(takes_requests(postcard, name) for name in EVERYBODY), 60, "everybody")
    return postcard


def takes_requests(postcard: Postcard, name: str) -> bool:
    """Whether application and sidecar are there, and the greeter's sidecar knows of those to which
    requests go (of the second version it holds nothing)."""
    one = postcard.member(name)
    ready = loopback.get_now(one.admin_port, "/ready").status == 200
    greeter = postcard.member("greeter").clusters()
    known = name not in FIRST or f"127.0.0.1:{one.inbound_port}::health_flags::healthy" in greeter
    return ready and known


def host(postcard: Postcard, service: str) -> str:
    return f"{service}.localhost:{postcard.up.port}"


def assert_nobody_noticed(*flows: Load) -> None:
    for flowing in flows:
        assert flowing.failures == []
        assert [one for one in flowing.answers if MISSING in one.text] == []


@pytest.mark.parametrize("part", ["application", "sidecar"])
def test_nobody_notices_the_death_of_one_messenger_of_two(whole: Postcard, part: str) -> None:
    one = whole.member("messenger-v1")
    port = whole.up.port
    with (
        load(port, host(whole, "messenger")) as direct,
        load(port, host(whole, "greeter"), per_second=30, connections=3) as pages,
    ):
        direct.more(50)
        pid = one.app_pid() if part == "application" else one.sidecar_pid()
        kill(pid)
        eventually(lambda: not alive(pid), what="its death")
        direct.more(200)
        pages.more(20)
        eventually(lambda: takes_requests(whole, "messenger-v1"), 60, "its return")
        direct.more(100)
    assert_nobody_noticed(direct, pages)


def test_without_messengers_the_page_comes_and_the_message_returns_in_2_s(
    whole: Postcard, notes: list[str]
) -> None:
    took = []
    with load(whole.up.port, host(whole, "greeter"), per_second=40, connections=4) as pages:
        for _ in range(ROUNDS):
            took.append(message_is_away_and_returns(whole, pages))
            if took[-1] <= PROMISED_S:
                break
            eventually(lambda: all(takes_requests(whole, name) for name in FIRST), 60)
        assert pages.failures == []
    notes.append(f"recovery: the message came {min(took):.2f} s after a messenger was back")
    assert min(took) <= PROMISED_S, f"seconds from a messenger's return to its message: {took}"


def message_is_away_and_returns(whole: Postcard, pages: Load) -> float:
    """Seconds from the moment a messenger accepts connections to the first page with its words."""
    killed = [whole.member(name).app_pid() for name in EVERYBODY[1:]]
    ports = [whole.member(name).app_port() for name in FIRST]
    for pid in killed:
        kill(pid)
    killed_s = time.monotonic()
    eventually(lambda: any(MISSING in one.text for one in pages.since(killed_s)), 60, "no message")
    eventually(lambda: any(accepts(port) for port in ports), 60, "a messenger is back")
    back_s = time.monotonic()
    came_s: float = eventually(lambda: first_message(pages, back_s), 60, "the message")
    return came_s - back_s


def first_message(pages: Load, since_s: float) -> float:
    return next((one.came_s for one in pages.since(since_s) if "messenger v1" in one.text), 0.0)


def accepts(port: int) -> bool:
    return loopback.get_now(port, "/").status == 200


def test_nobody_notices_the_death_of_the_control_plane(whole: Postcard) -> None:
    before = whole.up.log.count("control plane serves again")
    with (
        load(whole.up.port, host(whole, "messenger")) as direct,
        load(whole.up.port, host(whole, "greeter"), per_second=30, connections=3) as pages,
    ):
        direct.more(50)
        kill(control_plane(whole.up)["pid"])
        direct.more(200)
        again = "control plane serves again"
        eventually(lambda: whole.up.log.count(again) > before, 60, "its return")
        whole.version()
        direct.more(200)
        pages.more(20)
    assert_nobody_noticed(direct, pages)


def test_a_sidecar_comes_back_by_itself_while_the_control_plane_hangs(whole: Postcard) -> None:
    """With its last good configuration and its identity; the control plane goes on afterwards."""
    one = whole.member("messenger-v1")
    kept = whole.up.state / "sidecars" / one.name / "last-good.binpb"
    eventually(kept.exists, 60, "its last good configuration on disk")
    plane = control_plane(whole.up)["pid"]
    os.kill(plane, signal.SIGSTOP)
    try:
        with load(whole.up.port, host(whole, "messenger")) as direct:
            direct.more(20)
            kill(one.sidecar_pid())
            direct.more(100)
            whole.up.says("the sidecar of messenger-v1 starts with what it has kept")
            served = f"cluster.inbound|{one.app_port()}||.upstream_rq_2xx"
            eventually(lambda: one.stats().get(served, 0) > 20, 60, "requests at its sidecar")
        assert_nobody_noticed(direct)
    finally:
        os.kill(plane, signal.SIGCONT)
    whole.version()
