"""A cluster that serves gets health checks, or other ones: nobody is sent away before an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.config import model
from proxy.upstream.health import ClusterHealth
from proxy.upstream.host import Host
from tests.support.hosts import House, assignment
from tests.support.http1 import Message
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async

CHECK = model.HealthCheck(model.HttpCheck("/first"), 60.0, 60.0, 3, 3)
OTHER = replace(CHECK, check=model.HttpCheck("/second"))


class Served:
    """A cluster of one real upstream, with checks as they are configured."""

    def __init__(self, port: int) -> None:
        endpoint = model.Endpoint(model.SocketAddress("127.0.0.1", port))
        self.house = House(endpoint)
        self.health = self.house.cluster.health = ClusterHealth(self.house.cluster)

    @property
    def host(self) -> Host:
        return self.house.hosts[0]

    def use(self, check: model.HealthCheck | None) -> None:
        config = replace(self.house.cluster.config, health_check=check, healthy_panic_threshold=0.0)
        self.house.cluster.configure(config)
        self.health.configure(check, lambda _: None, lambda _: None, False)

    async def checked(self) -> None:
        await eventually_async(lambda: not self.health.waiting, what="the first check")


ANSWERS: dict[str, Answer] = {}


def scripted(message: Message) -> Answer:
    """A path without an answer is never answered."""
    return ANSWERS.get(message.start.split()[1], Answer(never=True))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    ANSWERS.clear()
    async with Upstream(scripted) as upstream:
        one = Served(upstream.port)
        yield one
        one.health.stop()


async def test_hosts_serve_until_their_first_check(served: Served) -> None:
    served.use(CHECK)
    assert served.health.waiting and served.house.cluster.pick() is served.host


async def test_hosts_that_were_well_serve_until_the_other_check(served: Served) -> None:
    ANSWERS["/first"] = Answer()
    served.use(CHECK)
    await served.checked()
    served.use(OTHER)
    assert served.health.waiting and served.house.cluster.pick() is served.host


async def test_the_first_answer_decides_whatever_the_threshold(served: Served) -> None:
    ANSWERS["/first"] = Answer(cut=0)
    served.use(CHECK)
    await served.checked()
    assert served.host.failed and served.house.cluster.pick() is None


async def test_a_host_that_was_ill_stays_so_until_the_other_check(served: Served) -> None:
    ANSWERS["/first"] = Answer(503)
    served.use(CHECK)
    await served.checked()
    served.use(OTHER)
    assert served.house.cluster.pick() is None
    ANSWERS["/third"] = Answer()
    served.use(replace(CHECK, check=model.HttpCheck("/third")))
    await served.checked()
    assert served.house.cluster.pick() is served.host


async def test_new_hosts_wait_for_theirs(served: Served) -> None:
    served.use(CHECK)
    old = served.host
    served.house.cluster.set_endpoints(
        assignment(*(model.Endpoint(model.SocketAddress("127.0.0.1", port)) for port in (1,)))
    )
    assert served.house.cluster.pick() is old


async def test_without_checks_everybody_serves(served: Served) -> None:
    ANSWERS["/first"] = Answer(503)
    served.use(CHECK)
    await served.checked()
    served.use(None)
    assert served.house.cluster.pick() is served.host
