"""Counters, gauges, status counts and histograms, as their readers see them."""

from __future__ import annotations

import pytest

from proxy.stats import BUCKETS, Histogram, Stats


def test_a_name_is_one_object() -> None:
    stats = Stats()
    stats.counter("a").value += 1
    stats.counter("a").value += 1
    stats.gauge("g").value = 3
    assert stats.counters["a"].value == 2 and stats.gauges["g"].value == 3
    assert stats.histogram("h") is stats.histogram("h")


def test_what_follows_from_others() -> None:
    stats = Stats()
    one = stats.counter("one")
    stats.derive("two", lambda: 2 * one.value)
    stats.derive_gauge("three", lambda: 3 * one.value)
    one.value = 7
    assert stats.counters["two"].value == 14 and stats.gauges["three"].value == 21
    stats.counters["two"].value = 0  # resetting is the business of what it follows from
    assert stats.counters["two"].value == 14


def test_statuses() -> None:
    stats = Stats()
    counts = stats.statuses("c.rq_", single=True)
    for status in (200, 200, 204, 301, 404, 503):
        counts.add(status)
    values = {name: counter.value for name, counter in stats.counters.items()}
    assert values["c.rq_completed"] == 6
    assert [values[f"c.rq_{n}xx"] for n in range(1, 6)] == [0, 3, 1, 1, 1]
    assert values["c.rq_200"] == 2 and values["c.rq_503"] == 1
    assert "c.rq_201" not in values


def test_statuses_by_class_only() -> None:
    stats = Stats()
    stats.statuses("h.", single=False).add(200)
    assert "h.200" not in stats.counters and stats.counters["h.2xx"].value == 1


def test_forgetting_a_prefix() -> None:
    stats = Stats()
    for name in ("cluster.a.x", "cluster.ab.x", "listener.a.x"):
        stats.counter(name)
        stats.gauge(name)
        stats.histogram(name)
    stats.forget(["cluster.a."])
    for table in (stats.counters, stats.gauges, stats.histograms):
        assert set(table) == {"cluster.ab.x", "listener.a.x"}


def test_what_only_begins_alike_is_kept() -> None:
    stats = Stats()
    for name in ("cluster.a.x", "cluster.a.b.x", "cluster.c.x", "cluster.d.x"):
        stats.counter(name)
    stats.forget(["cluster.a.", "cluster.c.", "cluster.d."], ["cluster.a.b.", "cluster.c."])
    assert set(stats.counters) == {"cluster.a.b.x", "cluster.c.x"}


class TestHistogram:
    def test_an_edge_belongs_to_its_bucket(self) -> None:
        histogram = Histogram()
        for edge in BUCKETS:
            histogram.record(edge)
        assert histogram.counts == [1] * len(BUCKETS) + [0]

    def test_above_all_edges(self) -> None:
        histogram = Histogram()
        histogram.record(BUCKETS[-1] + 1)
        assert histogram.counts[-1] == 1 and histogram.quantile(1.0) == BUCKETS[-1]

    def test_sum_and_count_and_folding_twice(self) -> None:
        histogram = Histogram()
        for value in (3.0, 1.0, 2.0):
            histogram.record(value)
        assert (histogram.count, histogram.total) == (3, 6.0)
        histogram.record(4.0)
        histogram.fold()
        histogram.fold()
        assert (histogram.count, histogram.total, sum(histogram.counts)) == (4, 10.0, 4)

    def test_few_and_many_are_sorted_alike(self) -> None:
        around = [edge + by for edge in BUCKETS for by in (-0.25, 0, 0.25)] + [BUCKETS[-1] * 2]
        few, many = Histogram(), Histogram()
        for value in around:
            few.record(value)
            few.fold()
            many.record(value)
        assert few.counts == many.counts
        assert sum(few.counts) == many.count == len(around)
        assert few.counts[-1] == 2

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
    def test_empty(self, share: float) -> None:
        assert Histogram().quantile(share) == 0.0

    def test_quantiles(self) -> None:
        histogram = Histogram()
        low, high = BUCKETS[3], BUCKETS[8]
        for _ in range(90):
            histogram.record(low)
        for _ in range(10):
            histogram.record(high)
        assert histogram.quantile(0.5) == low and histogram.quantile(0.9) == low
        assert histogram.quantile(0.95) == high and histogram.quantile(1.0) == high

    def test_the_registry_folds_all(self) -> None:
        stats = Stats()
        stats.histogram("a").record(1.0)
        stats.turn(1.0)
        assert not stats.histogram("a")._notes


def test_managers_of_one_prefix_count_together() -> None:
    """As in Envoy: and a listener that is made anew goes on counting."""
    stats = Stats()
    first = stats.statuses("http.in.downstream_rq_", single=False)
    second = stats.statuses("http.in.downstream_rq_", single=False)
    first.add(200)
    second.add(204)
    assert stats.counters["http.in.downstream_rq_2xx"].value == 2
    stats.forget(["http.in."])
    assert stats.statuses("http.in.downstream_rq_", single=False).counts == {}
