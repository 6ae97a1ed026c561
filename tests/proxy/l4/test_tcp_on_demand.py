"""A connection waits for a cluster that is fetched by name (Envoy's `TcpProxy.OnDemand`)."""

from __future__ import annotations

from typing import Any

import pytest

from protos.types import CDS
from proxy import demand as demands
from proxy.config import model
from tests.support.playbook import cluster
from tests.support.tcp_play import TcpPlay


def playing(**fields: Any) -> TcpPlay:
    return TcpPlay(clusters=[], **{"on_demand_s": 5.0, **fields})


def arrives(play: TcpPlay, *names: str, absent: tuple[str, ...] = ()) -> None:
    play.apply({"in": play.listener}, [cluster(name) for name in names])
    answers = {(CDS, name): True for name in names} | {(CDS, name): False for name in absent}
    play.demand.settle({}, answers)
    play.tick()


def counts(play: TcpPlay) -> list[int]:
    hows = ("attempt", "success", "missing", "timeout")
    return [play.stats.counter(f"tcp.in.on_demand_cluster_{how}").value for how in hows]


def test_it_goes_on_when_its_cluster_is_there() -> None:
    with playing() as play:
        client = play.client()
        client.end.data_received(b"hello")
        assert (client.state, play.openings, list(play.demand.names)) == ("open", [], [(CDS, "a")])
        arrives(play, "a")
        up = play.accept()
        assert up.take() == b"hello"
        assert counts(play) == [1, 1, 0, 0]
        other = play.client()
        play.accept()
        assert (other.state, counts(play)) == ("open", [1, 1, 0, 0])
        for one in (client, other):
            one.break_off()


@pytest.mark.parametrize("again", [False, True])
def test_without_a_cluster_it_is_closed(again: bool) -> None:
    with playing() as play:
        client = play.client()
        arrives(play, absent=("a",))
        assert client.state == "aborted"
        if again:  # nobody asks twice
            assert play.client().state == "aborted"
        assert counts(play) == [1 + again, 0, 1 + again, 0]
        assert play.count("downstream_cx_no_route") == 1 + again
    assert [record.flags for record in play.records] == ["NC"] * (1 + again)


def test_it_does_not_wait_for_ever() -> None:
    with playing() as play:
        client = play.client()
        play.loop.advance(5.1)
        assert (client.state, counts(play)) == ("aborted", [1, 0, 0, 1])
    assert play.records[0].flags == "NC"


def test_who_leaves_meanwhile_leads_to_no_connection() -> None:
    with playing() as play:
        play.client().break_off()
        arrives(play, "a")
        assert play.openings == []


def test_of_several_the_one_that_was_drawn_is_asked_for() -> None:
    with playing(cluster="", weighted=(("a", 0), ("b", 1))) as play:
        play.client()
        assert list(play.demand.names) == [(CDS, "b")]
        arrives(play, "b")
        up = play.accept()
        assert up.end is not None
        up.break_off()


def test_too_many_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demands, "MAX_OF_ONE_SOURCE", 1)
    with playing() as play:
        first, second = play.client(), play.client()
        assert (first.state, second.state) == ("open", "aborted")
        arrives(play, "a")
        play.accept()
        first.break_off()
    assert sorted(record.flags for record in play.records)[-1] == "UO"


def test_without_on_demand_it_is_closed_at_once() -> None:
    with playing(on_demand_s=None) as play:
        assert play.client().state == "aborted"
        assert not play.demand.names
    assert [type(model.TcpProxy("x").on_demand_s), play.records[0].flags] == [type(None), "NC"]
