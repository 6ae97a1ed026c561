"""Renewal arithmetic, as tables."""

from __future__ import annotations

import pytest

from certs.renewal import (
    call_timeout_s,
    pushback_s,
    renew_at,
    retry_delay_s,
    retry_in_time_s,
    should_renew,
)


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


@pytest.mark.parametrize(
    ("failures", "left_s", "delay_s"),
    [
        (20, None, 30), (20, 3500, 30), (20, 100, 10), (20, 2, 0.5), (1, 2, 0.5), (3, 100, 2),
        (20, 0, 5), (20, -200, 5), (1, -200, 0.5),
    ],
)  # fmt: skip
def test_a_short_life_is_tried_for_more_often(
    failures: int, left_s: float | None, delay_s: float
) -> None:
    assert retry_in_time_s(failures, left_s) == delay_s


@pytest.mark.parametrize(
    ("told_s", "left_s", "wait_s"),
    [
        (0, None, 0), (4, None, 6), (4, 3500, 6), (86_400, None, 300), (86_400, 3500, 300),
        (86_400, 100, 50), (86_400, 0.6, 0.5), (86_400, -1, 300), (0.2, 0.1, 0.3),
    ],
)  # fmt: skip
def test_a_ca_is_left_alone_but_not_beyond_the_end(
    told_s: float, left_s: float | None, wait_s: float
) -> None:
    assert pushback_s(told_s, left_s, 0.5) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("left_s", "timeout_s"),
    [(None, 10), (1740, 30), (300, 15), (100, 10), (12, 4), (3, 2), (0, 10), (-5, 10)],
)
def test_a_call_may_last_as_the_certificate_does(left_s: float | None, timeout_s: float) -> None:
    assert call_timeout_s(left_s) == timeout_s
