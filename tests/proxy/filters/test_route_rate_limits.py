"""Which of a route's and its virtual host's rate limits describe a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from proxy.config.model.rate_limits import Fixed, RateLimit, RouteRateLimits
from proxy.filters.descriptors import describer_by_route

OWN = RateLimit((Fixed("k", "own"),))
HOST = RateLimit((Fixed("k", "host"),))
LATER = RateLimit((Fixed("k", "later"),), stage=1)
Mode = Literal["OVERRIDE", "INCLUDE", "IGNORE"]


def described(mode: Mode, limits: RouteRateLimits | None) -> list[str]:
    """The values of the descriptors of stage 0."""
    stream: Any = SimpleNamespace(route=SimpleNamespace(rate_limits=limits))
    describe = describer_by_route(mode, 0, "")
    assert describe(stream) == describe(stream)
    return [value for ((_, value),), _ in describe(stream)]


@pytest.mark.parametrize(
    ("mode", "own", "includes", "values"),
    [
        ("OVERRIDE", (OWN,), False, ["own"]),
        ("OVERRIDE", (), False, ["host"]),
        ("OVERRIDE", (OWN,), True, ["own", "host"]),
        ("OVERRIDE", (LATER,), False, []),
        ("INCLUDE", (OWN,), False, ["own", "host"]),
        ("IGNORE", (OWN,), True, ["own"]),
        ("IGNORE", (), True, []),
    ],
)
def test_the_virtual_host_counts_where_it_may(
    mode: Mode, own: tuple[RateLimit, ...], includes: bool, values: list[str]
) -> None:
    assert described(mode, RouteRateLimits(own, (HOST,), includes)) == values


def test_a_route_without_any_is_described_by_nothing() -> None:
    assert described("INCLUDE", None) == []
