"""What a status reads out of a proxy's `/stats`."""

from __future__ import annotations

from weft.stats import Counts, Rates, counts, rates

TEXT = """\
cluster.outbound|8080||greeter.downstream_rq_total: 99
http.admin.downstream_rq_total: 50
http.inbound_20001.downstream_rq_2xx: 9
http.inbound_20001.downstream_rq_5xx: 1
http.inbound_20001.downstream_rq_total: 10
http.inbound_20002.downstream_rq_total: 5
http.outbound_20003.downstream_rq_5xx: 2
http.outbound_20003.downstream_rq_total: 7
http.inbound_20001.downstream_rq_time: P0(nan,0) P25(nan,1) P50(2,2.05) P99(nan,9)
"""


def test_the_sums_are_by_side_and_without_the_admins_own() -> None:
    assert counts(TEXT) == Counts(inbound=15, outbound=7, errors=3, p50_ms=2.05)


def test_nothing_is_nothing() -> None:
    assert counts("") == Counts()


def test_rates_are_per_second() -> None:
    before, after = Counts(10, 20, 1), Counts(30, 25, 2)
    assert rates(before, after, 2.0) == Rates(10.0, 2.5, 0.5)


def test_a_restarted_proxy_counts_from_nothing() -> None:
    assert rates(Counts(100, 100, 9), Counts(4, 0, 1), 2.0) == Rates(2.0, 0.0, 0.5)


def test_no_time_is_no_rate() -> None:
    assert rates(Counts(), Counts(5, 5, 5), 0.0) == Rates()
