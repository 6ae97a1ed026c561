"""Reads a proxy's `/stats` (Envoy's text format) into the few numbers that a status shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HTTP = re.compile(r"^http\.(inbound|outbound|[^.]*)\S*\.downstream_rq_(total|5xx): (\d+)$")
_P50 = re.compile(r"^http\.inbound\S*\.downstream_rq_time: .*\bP50\([^,]*,([0-9.]+)\)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the proxy's start. p50_ms: of requests that came in, None before the first."""

    inbound: int = 0
    outbound: int = 0
    errors: int = 0
    p50_ms: float | None = None

    @property
    def requests(self) -> int:
        return self.inbound + self.outbound


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, between two looks."""

    inbound: float = 0.0
    outbound: float = 0.0
    errors: float = 0.0


def counts(text: str) -> Counts:
    """The sums over all HTTP listeners, the admin's own aside."""
    sums = {"inbound": 0, "outbound": 0, "5xx": 0}
    p50 = None
    for line in text.splitlines():
        if match := _HTTP.match(line):
            side, what, value = match.groups()
            if side == "admin":
                continue
            key = "5xx" if what == "5xx" else "inbound" if side == "inbound" else "outbound"
            sums[key] += int(value)
        elif match := _P50.match(line):
            p50 = float(match.group(1))
    return Counts(sums["inbound"], sums["outbound"], sums["5xx"], p50)


def rates(before: Counts, after: Counts, seconds: float) -> Rates:
    """A proxy that was restarted in between began anew: then all it counts is new."""
    if seconds <= 0:
        return Rates()
    if after.requests < before.requests:
        before = Counts()
    return Rates(
        (after.inbound - before.inbound) / seconds,
        (after.outbound - before.outbound) / seconds,
        max(0, after.errors - before.errors) / seconds,
    )
