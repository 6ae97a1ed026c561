"""What a cluster that fails every request gets on top of its load: bounded, by Envoy's numbers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, cluster, retries, route

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
CLIENTS = 50


def storm(breaker: model.Thresholds, **policy: Any) -> Playbook:
    one = cluster(thresholds_default=breaker)
    return Playbook(route(retry=retries("5xx", **policy)), clusters=[one])


def fail_all(play: Playbook) -> list[int]:
    """All ask at once and all attempts fail; the attempts of each wave."""
    for _ in range(CLIENTS):
        play.client() >> GET
    ups = [play.accept() for _ in range(CLIENTS)]
    waves = [CLIENTS]
    while True:
        for up in ups:
            if up.take():
                up >> BAD
        play.tick(0.3)
        asked = play.count("upstream_rq_total") - sum(waves)
        while play.openings:
            ups.append(play.accept())
        if not asked:
            return waves
        waves.append(asked)


def by_envoys_formula(percent: float, floor: int, clients: int) -> int:
    """Retries granted while `clients` fail one after the other: each counts what is in flight."""
    granted = 0
    for failed in range(clients):
        granted += granted < max(int(percent / 100 * (clients - failed)), floor)
    return granted


@pytest.mark.parametrize("percent, floor", [(20.0, 3), (50.0, 3), (100.0, 0), (0.0, 5), (10.0, 0)])
def test_a_budget(percent: float, floor: int) -> None:
    breaker = model.Thresholds(budget_percent=percent, budget_min_concurrency=floor)
    with storm(breaker, num_retries=5) as play:
        waves = fail_all(play)
        # A back-off of 0 ms lets a retry begin while others still fail: it counts as in flight.
        assert waves[1] - by_envoys_formula(percent, floor, CLIENTS) in (0, 1)
        assert waves[1] <= max(percent / 100 * CLIENTS, floor)
        assert all(later <= max(floor, waves[1]) for later in waves[1:])
        assert play.count("upstream_rq_retry") == sum(waves) - CLIENTS


@pytest.mark.parametrize("most", [0, 1, 3, 10])
def test_max_retries(most: int) -> None:
    """As many at a time, each of them as often as the policy says."""
    with storm(model.Thresholds(max_retries=most), num_retries=4) as play:
        waves = fail_all(play)
        assert waves[1:] == [most] * (4 if most else 0)
        assert play.count("upstream_rq_retry_overflow") == CLIENTS - most


def test_without_a_limit_the_policy_bounds_it() -> None:
    with storm(model.Thresholds(max_retries=1000), num_retries=2) as play:
        assert fail_all(play) == [CLIENTS] * 3
        assert play.count("upstream_rq_retry_limit_exceeded") == CLIENTS
