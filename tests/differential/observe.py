"""Runs one scenario over a proxy that runs already and writes down what everybody saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from tests.differential.configure import Place
from tests.differential.converse import Caller, converse
from tests.differential.pki import Pki
from tests.differential.record import (
    Seen,
    cleaned,
    counted,
    of_log,
    of_message,
    of_own_log,
)
from tests.differential.scenario import Conversation, Scenario, UpstreamPlan
from tests.differential.statistics import Statistics, await_stats, settled
from tests.support.h2_upstream import H2Upstream
from tests.support.upstream import Upstream
from tests.support.wait import eventually_async

ARRIVE_DEADLINE_S = 20.0
LOG_DEADLINE_S = 20.0
Groups = dict[str, list[Upstream]]


@asynccontextmanager
async def upstreams(scenario: Scenario, place: Place, pki: Pki) -> AsyncIterator[Groups]:
    """The scenario's upstreams, listening on the ports of its place."""
    async with AsyncExitStack() as stack:
        started: Groups = {}
        for name, plan in scenario.upstreams.items():
            group = [
                _upstream(plan, name, number, place, pki) for number in range(len(plan.endpoints))
            ]
            started[name] = [await stack.enter_async_context(upstream) for upstream in group]
        yield started


def _upstream(plan: UpstreamPlan, name: str, number: int, place: Place, pki: Pki) -> Upstream:
    tls = pki.server("messenger") if plan.tls else None
    answers, port = plan.answers[number], place.hosts[name][number]
    if plan.http2:
        return H2Upstream(answers, name, tls, port=port, health=plan.health, settings=plan.settings)
    return Upstream(
        answers, name, tls, port=port, health=plan.health, proxy_protocol=plan.proxy_protocol
    )


async def observe(
    scenario: Scenario,
    place: Place,
    groups: Groups,
    pki: Pki,
    statistics: Statistics,
    hint: Seen | None = None,
) -> Seen:
    """What client, upstreams, statistics and access log saw. `hint` is what the other side's
    record holds: only how long to wait for statistics and log depends on it."""
    async with AsyncExitStack() as held:
        client = await _talk(scenario, place, groups, pki, statistics, held)
    counters = [] if scenario.repeats else list(place.hosts)
    stats = await settled(
        statistics, counters, scenario.stats, place.suffix, hint["stats"] if hint else None
    )
    await _log_written(scenario, place, len(hint["log"]) if hint else len(scenario.expect))
    logs = range(len(scenario.yaml.get("log", ())))
    seen = {
        "client": client,
        "upstream": {
            name: _served(scenario.upstreams[name], group) for name, group in groups.items()
        },
        "stats": stats,
        "log": of_log(place.folder / "access.log", scenario.log_order),
        "own_log": [of_own_log(place.folder / f"log.{number}") for number in logs],
    }
    steady: Mapping[str, str] = scenario.yaml.get("steady", {})
    return {**cleaned(seen, place.suffix, steady)}


async def _log_written(scenario: Scenario, place: Place, wanted: int) -> None:
    """Both write their logs now and then."""
    path = place.folder / "access.log"
    try:
        await eventually_async(
            lambda: len(of_log(path, scenario.log_order)) >= wanted, LOG_DEADLINE_S
        )
    except AssertionError:
        pass  # the comparison says which line is missing


async def _talk(
    scenario: Scenario,
    place: Place,
    groups: Groups,
    pki: Pki,
    statistics: Statistics,
    held: AsyncExitStack,
) -> list[Seen]:
    """All conversations in order; those in the background are awaited at the end."""
    running: list[asyncio.Task[Seen]] = []
    everyone = [one for group in groups.values() for one in group]
    for conversation in scenario.conversations:
        await await_stats(statistics, conversation.until, place.suffix)
        seen_before = _request_count(everyone)
        arrived = asyncio.Event()
        caller = Caller(place.port, pki, arrived, held)
        task = asyncio.get_running_loop().create_task(converse(conversation, caller))
        running.append(task)
        if _waits_for_upstream(conversation):
            await eventually_async(
                partial(_arrived, everyone, seen_before, task),
                ARRIVE_DEADLINE_S,
                what="the request at the upstream",
            )
            arrived.set()
        if not conversation.background:
            await task
    return [await task for task in running]


def _waits_for_upstream(conversation: Conversation) -> bool:
    cancels = any(request.cancel for request in conversation.requests)
    return conversation.background or conversation.hang_up or cancels


def _arrived(upstreams: list[Upstream], before: int, task: asyncio.Task[Seen]) -> bool:
    return _request_count(upstreams) > before or task.done()


def _request_count(upstreams: list[Upstream]) -> int:
    return sum(len(upstream.requests) for upstream in upstreams)


def _served(plan: UpstreamPlan, group: list[Upstream]) -> Any:
    """The requests in the order they came, of one host or of each."""
    if plan.seen == "none":
        return "not compared"
    if plan.seen == "spread":
        hosts = [str(number) for number, one in enumerate(group) for _ in one.requests]
        return counted(hosts, plan.tolerance)
    each = [[of_message(message) for message in upstream.requests] for upstream in group]
    flat = [message for requests in each for message in requests]
    served: Any = flat
    if len(group) > 1:
        served = each if plan.seen == "exact" else sorted(flat, key=str)
    if not (plan.connections or plan.proxy_protocol or any(one.tunnelled for one in group)):
        return served
    return {"requests": served, **_connections(plan, group)}


def _connections(plan: UpstreamPlan, group: list[Upstream]) -> Seen:
    seen: Seen = {
        "tunnelled": [bytes(came).decode("latin-1") for one in group for came in one.tunnelled]
    }
    if plan.connections:
        seen["connections"] = sum(
            len(one.connections) if isinstance(one, H2Upstream) else len(one.wires) for one in group
        )
    if plan.proxy_protocol:
        seen["proxied"] = [line for one in group for line in one.proxied]
    return seen
