"""Requests of the proxy's own: what is counted of them, and whom they blame."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.http.inquiry import Inquiry, Outcome
from proxy.upstream.asking import Asker, Question
from tests.support.hosts import GET, House

HTTP2 = model.HttpProtocolOptions(version="HTTP2")


class Curious:
    """Who asks the only host of a cluster, and what it was told."""

    def __init__(self, **fields: Any) -> None:
        self.house = House(**fields)
        self.told: list[Outcome] = []

    def ask(self) -> Question:
        asker = Asker({"a": self.house.cluster}, self.house.loop.call_later)
        question = asker.ask(Inquiry("a", GET), self.told.append)
        assert isinstance(question, Question)
        return question

    def counts(self) -> tuple[int, int]:
        stats = self.house.cluster.stats
        return stats.upstream_rq_tx_reset.value, stats.upstream_rq_rx_reset.value


@pytest.mark.parametrize(("version", "sent"), [("HTTP1", 0), ("HTTP2", 1)])
def test_one_that_is_given_up_counts_as_any_request(version: Any, sent: int) -> None:
    """Its connection counts it; over HTTP/1 nobody does (Envoy)."""
    one = Curious(http=model.HttpProtocolOptions(version=version))
    question = one.ask()
    one.house.accept_h2() if version == "HTTP2" else one.house.accept()
    question.cancel()
    assert one.counts() == (sent, 0) and one.told == []


def test_one_that_is_lost_was_not_reset() -> None:
    one = Curious()
    one.ask()
    one.house.accept().connection_lost(None)
    assert [each.status for each in one.told] == [503]
    assert one.counts() == (0, 0)


def test_a_limit_of_the_cluster_is_not_its_hosts_fault() -> None:
    one = Curious(
        outlier=model.OutlierDetection(consecutive_5xx=1, max_ejection_percent=100),
        thresholds_default=model.Thresholds(max_requests=1),
    )
    one.ask(), one.ask()
    one.house.accept(), one.house.accept()
    assert [each.failure for each in one.told] == ["overflow"]
    assert not one.house.hosts[0].ejected
