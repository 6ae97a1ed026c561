"""Renewal arithmetic, as tables."""

from __future__ import annotations

import pytest

from certs.renewal import renew_at, retry_delay_s, should_renew


@pytest.mark.parametrize(
    ("not_before", "not_after", "jitter", "expected"),
    [
        (0, 100, 0.0, 50),
        (0, 100, 0.5, 47.5),
        (0, 100, 1.0, 45),
        (1000, 1000 + 86400, 0.0, 1000 + 43200),
        (100, 100, 0.7, 100),
    ],
)
def test_renews_at_half_life_or_a_little_earlier(
    not_before: float, not_after: float, jitter: float, expected: float
) -> None:
    assert renew_at(not_before, not_after, jitter) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("now", "renew"), [(-5, True), (0, False), (49.9, False), (50, True), (100, True), (1e9, True)]
)
def test_should_renew(now: float, renew: bool) -> None:
    assert should_renew(now, 0, 100) is renew


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [(0, 0.5), (1, 0.5), (2, 1), (3, 2), (4, 4), (6, 16), (7, 30), (8, 30), (10_000, 30)],
)
def test_retries_back_off_to_a_ceiling(failures: int, delay_s: float) -> None:
    assert retry_delay_s(failures) == delay_s
    assert retry_delay_s(failures, jitter=1.0) == delay_s / 2
