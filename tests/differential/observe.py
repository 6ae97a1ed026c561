"""Runs a scenario over one proxy and writes down what everybody saw, as plain data.

What differs by nature from run to run is replaced by a placeholder (`<uuid>`, `<ms>`) or left out
(`date`), so that two records of the same behaviour are equal.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.differential.pki import Pki
from tests.differential.scenario import (
    LOG_FIELDS,
    Conversation,
    Request,
    Scenario,
    Yaml,
    bootstrap,
)
from tests.support.client import Client
from tests.support.http1 import Headers, Message
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.upstream import Upstream
from tests.support.wait import eventually, eventually_async

Seen = dict[str, Any]
Starter = Callable[[dict[str, Any], Path], ProxyProcess]

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LOG_LINE = re.compile(" ".join(f"{name}=(?P<{name}>.*?)" for name in LOG_FIELDS))
CLOSE_DEADLINE_S = 5.0
BODY_SHOWN_BYTES = 1024
CLASSES = ("total", "1xx", "2xx", "3xx", "4xx", "5xx")
UPSTREAM_RQ = ("retry", "retry_success", "timeout", "per_try_timeout", "pending_overflow")
LISTENER_STATS = (*(f"downstream_rq_{each}" for each in CLASSES), "downstream_cx_total")
CLUSTER_STATS = (
    *(f"upstream_rq_{each}" for each in CLASSES + UPSTREAM_RQ),
    "upstream_cx_total",
    "upstream_cx_connect_fail",
)


async def observe(scenario: Scenario, start: Starter, folder: Path, pki: Pki) -> Seen:
    """What client, upstreams, statistics and access log saw of the proxy that `start` makes."""
    log = folder / "access.log"
    async with AsyncExitStack() as stack:
        upstreams = await _start_upstreams(scenario, stack, pki)
        hosts = {name: [each.port for each in group] for name, group in upstreams.items()}
        for name, kind in scenario.clusters.items():
            hosts[name] = [] if kind == "empty" else [free_port()]
        port = free_port()
        config = bootstrap(scenario, port, hosts, log, pki.folder)
        proxy = await asyncio.to_thread(start(config, folder).start)
        try:
            everyone = [one for group in upstreams.values() for one in group]
            client = await _talk(scenario, port, everyone, pki, proxy)
            stats = await asyncio.to_thread(_settled_stats, proxy, list(hosts), scenario.stats)
        finally:
            code = await asyncio.to_thread(proxy.stop)
            trouble = _trouble(proxy.log, code)
            assert not trouble, trouble
    return {
        "client": client,
        "upstream": {name: _served(group) for name, group in upstreams.items()},
        "stats": stats,
        "log": _log(log),
    }


async def _start_upstreams(
    scenario: Scenario, stack: AsyncExitStack, pki: Pki
) -> dict[str, list[Upstream]]:
    started: dict[str, list[Upstream]] = {}
    for name, plan in scenario.upstreams.items():
        tls = pki.server("messenger") if plan.tls else None
        group = [Upstream(plan.answers, name, tls) for _ in range(plan.hosts)]
        started[name] = [await stack.enter_async_context(upstream) for upstream in group]
    return started


# --------------------------------------------------------------------------- the client's side


async def _talk(
    scenario: Scenario, port: int, upstreams: list[Upstream], pki: Pki, proxy: ProxyProcess
) -> list[Seen]:
    """All conversations in order; those in the background are awaited at the end."""
    running: list[asyncio.Task[Seen]] = []
    for conversation in scenario.conversations:
        await asyncio.to_thread(_await_stats, proxy, conversation.until)
        seen_before = _request_count(upstreams)
        arrived = asyncio.Event()
        client = Client(port, pki.client(conversation.tls) if conversation.tls else None)
        task = asyncio.get_running_loop().create_task(_converse(conversation, client, arrived))
        running.append(task)
        if conversation.background or conversation.hang_up:
            await eventually_async(
                partial(_arrived, upstreams, seen_before, task),
                what="the request at the upstream",
            )
            arrived.set()
        if not conversation.background:
            await task
    return [await task for task in running]


def _arrived(upstreams: list[Upstream], before: int, task: asyncio.Task[Seen]) -> bool:
    return _request_count(upstreams) > before or task.done()


def _request_count(upstreams: list[Upstream]) -> int:
    return sum(len(upstream.requests) for upstream in upstreams)


async def _converse(conversation: Conversation, new: Client, arrived: asyncio.Event) -> Seen:
    async with new as client:
        if conversation.hang_up:
            await client.send(conversation.requests[0].head + conversation.requests[0].body)
            await arrived.wait()
            return {"hung up": True}
        responses = await _exchange(conversation, client)
        seen: Seen = {"responses": responses}
        if conversation.closes:
            seen["closed"] = await client.closed(CLOSE_DEADLINE_S)
        return seen


async def _exchange(conversation: Conversation, client: Client) -> list[Seen | None]:
    if conversation.raw:
        await client.send(conversation.raw)
        method = conversation.raw.split(b" ")[0].decode("latin-1")
        return [await _answer(client, method) for _ in range(conversation.responses)]
    if conversation.pipelined:
        await client.send(b"".join(one.head + one.body for one in conversation.requests))
        return [await _answer(client, one.method) for one in conversation.requests]
    return [await _ask(client, one) for one in conversation.requests]


async def _ask(client: Client, request: Request) -> Seen | None:
    if not request.wait_continue:
        await client.send(request.head + request.body)
        return await _answer(client, request.method)
    await client.send(request.head)
    first = await client.response(request.method)
    if first is None or first.status >= 200:
        return _message(first)
    await client.send(request.body)
    seen = await _answer(client, request.method)
    return {**(seen or {}), "before": [first.start]}


async def _answer(client: Client, method: str) -> Seen | None:
    """The final response, with the 1xx before it."""
    interim = []
    while True:
        message = await client.response(method)
        if message is None or message.status >= 200 or message.status == 101:
            break
        interim.append(message.start)
    seen = _message(message)
    return {**seen, "before": interim} if seen and interim else seen


# --------------------------------------------------------------------------- as plain data


def _message(message: Message | None) -> Seen | None:
    if message is None:
        return None
    seen: Seen = {
        "start": message.start,
        "headers": _headers(message.headers),
        "body": _body(message.body),
    }
    if message.trailers:
        seen["trailers"] = _headers(message.trailers)
    if not message.complete:
        seen["complete"] = False
    return seen


def _headers(headers: Headers) -> dict[str, list[str]]:
    """A multiset by lower-case name; order between names and case are not compared."""
    seen: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() != "date":
            seen.setdefault(name.lower(), []).append(_steady(name.lower(), value))
    return {name: sorted(values) for name, values in sorted(seen.items())}


def _steady(name: str, value: str) -> str:
    if name == "x-envoy-upstream-service-time":
        return "<ms>"
    if name == "x-forwarded-for":
        return value.replace(_own_address(), "127.0.0.1")
    if name == "x-envoy-expected-rq-timeout-ms" and value.isdigit():
        return f"<at most {-(-int(value) // 100) * 100} ms>"  # what is left of it in a retry
    return "<uuid>" if name == "x-request-id" and UUID.fullmatch(value) else value


@cache
def _own_address() -> str:
    """Envoy writes the machine's first address where the peer is on loopback; Weft the peer's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _body(body: bytes) -> str:
    if len(body) <= BODY_SHOWN_BYTES:
        return body.decode("latin-1")
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"


def _served(group: list[Upstream]) -> list[Seen | None]:
    """Requests in the order they came; of several hosts as a set: who got which may differ."""
    seen = [_message(message) for upstream in group for message in upstream.requests]
    return seen if len(group) == 1 else sorted(seen, key=str)


def _await_stats(proxy: ProxyProcess, wanted: Mapping[str, int]) -> None:
    """Until the statistics have these values; when they never do, what is seen then will say it."""
    if not wanted:
        return
    try:
        eventually(lambda: wanted.items() <= proxy.stats().items(), deadline_s=5.0)
    except AssertionError:
        pass


def _settled_stats(
    proxy: ProxyProcess, clusters: list[str], wanted: tuple[str, ...]
) -> dict[str, int | None]:
    """Read when no request is active any more; a name that is not there is None if it is wanted."""

    def idle() -> dict[str, int] | None:
        stats = proxy.stats()
        active = stats.get("http.test.downstream_rq_active", 0)
        return None if active else stats

    try:
        stats = eventually(idle, deadline_s=5.0, what="no active request")
    except AssertionError:
        return {"http.test.downstream_rq_active at the end": 1}
    names = [f"http.test.{name}" for name in LISTENER_STATS]
    names += [f"cluster.{cluster}.{name}" for cluster in clusters for name in CLUSTER_STATS]
    seen: dict[str, int | None] = {name: stats[name] for name in names if name in stats}
    return seen | {name: stats.get(name) for name in wanted}


def _trouble(log: str, exit_code: int) -> str:
    """What no proxy may do, whatever the scenario: a traceback, or an end that is no end."""
    if "Traceback" in log:
        return f"it logged a traceback:\n{log[-3000:]}"
    return f"it ended with {exit_code}:\n{log[-3000:]}" if exit_code else ""


def _log(path: Path) -> list[Yaml]:
    if not path.exists():
        return []
    lines = path.read_text("utf-8", "replace").splitlines()
    matches = (LOG_LINE.fullmatch(line) for line in lines)
    return [
        match.groupdict() if match else {"line": line}
        for match, line in zip(matches, lines, strict=True)
    ]
