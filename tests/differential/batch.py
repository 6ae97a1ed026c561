"""Many scenarios in one pair of processes: first all over Envoy, then all over Weft.

Both sides get the same ports, so that hashes of addresses agree. When a batch can't run (a proxy
refuses the configuration, ends, or logs a traceback) its halves are run, until the scenario that is
to blame is alone; a scenario that differs is run again alone, twice at most, and that run is its
verdict.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.differential.compare import Difference, differences
from tests.differential.configure import Place, bootstrap, placed, write_files
from tests.differential.observe import observe, upstreams
from tests.differential.pki import Pki
from tests.differential.record import Seen
from tests.differential.scenario import Scenario
from tests.differential.statistics import Statistics
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess

BATCH_SIZE = 25
AT_A_TIME = 6
AGAIN_AT_A_TIME = 2
TRIES_ALONE = 2  # on a slow machine a timeout of Envoy's or ours may pass too early once
SCENARIO_DEADLINE_S = 60.0
Starter = Callable[[dict[str, Any], Path], ProxyProcess]
Placed = tuple[Scenario, Place]


@dataclass(slots=True)
class Verdict:
    """Of one scenario: `envoy` is what Envoy showed, `trouble` why there is no comparison, `again`
    how it differed among others, when it did not alone."""

    scenario: Scenario
    envoy: Seen | None = None
    weft: Seen | None = None
    trouble: str = ""
    again: str = ""
    found: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.trouble and not self.found

    @property
    def said(self) -> list[str]:
        """Envoy's access log as `expect` writes it."""
        lines = self.envoy["log"] if self.envoy else []
        return [f"{line.get('code')} {line.get('flags')}" for line in lines]

    def __str__(self) -> str:
        return self.trouble or "\n".join(f"- {each}" for each in self.found)


class Trouble(Exception):
    """A proxy could not run this batch. `broken`: it would run none."""

    def __init__(self, text: str, *, broken: bool = False) -> None:
        super().__init__(text)
        self.broken = broken


@dataclass(frozen=True, slots=True)
class Judges:
    """Both sides; `other` is None when Envoy runs alone."""

    judge: Starter
    other: Starter | None
    pki: Pki
    folder: Path


def batches(scenarios: Iterable[Scenario], size: int = BATCH_SIZE) -> list[list[Scenario]]:
    """In order, those of the same bootstrap fragment together."""
    groups: dict[str, list[list[Scenario]]] = {}
    for scenario in scenarios:
        key = json.dumps(scenario.yaml.get("bootstrap", {}), sort_keys=True)
        lists = groups.setdefault(scenario.name if scenario.alone else key, [[]])
        if len(lists[-1]) == size:
            lists.append([])
        lists[-1].append(scenario)
    return [batch for lists in groups.values() for batch in lists]


async def judge(batch: Sequence[Scenario], judges: Judges) -> list[Verdict]:
    """One verdict for each, in order."""
    try:
        verdicts = await _run(batch, judges)
    except Trouble as trouble:
        if len(batch) == 1 or trouble.broken:
            return [Verdict(scenario, trouble=str(trouble)) for scenario in batch]
        half = len(batch) // 2
        return await judge(batch[:half], judges) + await judge(batch[half:], judges)
    if len(batch) == 1:
        return verdicts
    room = asyncio.Semaphore(AGAIN_AT_A_TIME)
    return await asyncio.gather(*(_once_more(verdict, judges, room) for verdict in verdicts))


async def _once_more(verdict: Verdict, judges: Judges, room: asyncio.Semaphore) -> Verdict:
    """What differs only in company is the machine's doing; alone it tells the truth."""
    if verdict.equal:
        return verdict
    for _ in range(TRIES_ALONE):
        async with room:
            (alone,) = await judge([verdict.scenario], judges)
        if alone.equal:
            alone.again = str(verdict)
            break
    return alone


async def _run(batch: Sequence[Scenario], judges: Judges) -> list[Verdict]:
    async with AsyncExitStack() as stack:
        reservation = stack.enter_context(Reservation())
        verdicts = [Verdict(scenario) for scenario in batch]
        ports = [_ports(scenario, reservation) for scenario in batch]
        named = len(batch) > 1
        places = [
            Place(f"~{scenario.name}" if named else "", port, hosts, Path(), judges.pki.folder)
            for scenario, (port, hosts) in zip(batch, ports, strict=True)
        ]
        for verdict, seen in zip(
            verdicts, await _side("envoy", batch, places, judges, verdicts), strict=True
        ):
            verdict.envoy = seen if isinstance(seen, dict) else None
            verdict.trouble = "" if isinstance(seen, dict) else f"envoy: {seen}"
        if judges.other:
            for verdict, seen in zip(
                verdicts, await _side("weft", batch, places, judges, verdicts), strict=True
            ):
                _compare(verdict, seen)
        return verdicts


def _ports(scenario: Scenario, reservation: Reservation) -> tuple[int, dict[str, tuple[int, ...]]]:
    hosts = {
        name: tuple(reservation.port() for _ in plan.endpoints)
        for name, plan in scenario.upstreams.items()
    }
    for name, kind in scenario.clusters.items():
        hosts[name] = (reservation.port(),) if kind == "refused" else ()
    return reservation.port(), hosts


def _compare(verdict: Verdict, seen: Seen | str) -> None:
    if verdict.trouble:
        return
    if isinstance(seen, str):
        verdict.trouble = f"weft: {seen}"
        return
    verdict.weft = seen
    verdict.found = differences(verdict.scenario.name, verdict.envoy, seen)


async def _side(
    side: str,
    batch: Sequence[Scenario],
    places: Sequence[Place],
    judges: Judges,
    verdicts: Sequence[Verdict],
) -> list[Seen | str]:
    """What each scenario showed over one proxy, or why it could not be seen."""
    folder = judges.folder / f"{batch[0].name}.{len(batch)}.{side}"
    members: list[Placed] = []
    for scenario, place in zip(batch, places, strict=True):
        own = folder / scenario.name
        own.mkdir(parents=True, exist_ok=True)
        for old in own.iterdir():
            old.unlink()
        here = Place(place.suffix, place.port, place.hosts, own, place.pki)
        filled = placed(scenario, here)
        write_files(filled, here)
        members.append((filled, here))
    start = judges.judge if side == "envoy" else judges.other
    assert start is not None
    async with AsyncExitStack() as stack:
        groups = [
            await stack.enter_async_context(upstreams(scenario, place, judges.pki))
            for scenario, place in members
        ]
        proxy = await _started(start(bootstrap(members), folder))
        statistics, room = Statistics(proxy), asyncio.Semaphore(AT_A_TIME)

        async def one(number: int) -> Seen | str:
            scenario, place = members[number]
            async with room:
                try:
                    async with asyncio.timeout(SCENARIO_DEADLINE_S):
                        hint = verdicts[number].envoy
                        return await observe(
                            scenario, place, groups[number], judges.pki, statistics, hint
                        )
                except (AssertionError, OSError, TimeoutError) as failure:
                    return f"{type(failure).__name__}: {failure}"

        try:
            seen = await asyncio.gather(*(one(number) for number in range(len(members))))
        finally:
            code = await asyncio.to_thread(proxy.stop)
        if trouble := _trouble(proxy.log, code):
            raise Trouble(f"{side} {trouble}")
        return list(seen)


async def _started(proxy: ProxyProcess) -> ProxyProcess:
    try:
        return await asyncio.to_thread(proxy.start)
    except AssertionError as failure:
        broken = "Traceback" in str(failure)  # not a refused configuration: it can't start at all
        raise Trouble(str(failure), broken=broken) from failure


def _trouble(log: str, exit_code: int) -> str:
    """What no proxy may do, whatever the scenario: a traceback, or an end that is no end."""
    if "Traceback" in log:
        return f"logged a traceback:\n{log[-3000:]}"
    return f"ended with {exit_code}:\n{log[-3000:]}" if exit_code else ""
