"""Subsets: which hosts a route's metadata leads to, and where the ways back lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.model.balancing import (
    LocalityLb,
    RingHashLb,
    RoundRobinLb,
    SubsetLb,
    SubsetSelector,
)
from proxy.upstream.balance import Surroundings, host_sets
from proxy.upstream.balance.subset import Subsets
from proxy.upstream.host import Host
from tests.support.hosts import a_host

CHILD = RoundRobinLb()


def labelled(*labels: dict[str, Any]) -> list[Host]:
    hosts = []
    for at, each in enumerate(labels):
        host = a_host(at)
        host.metadata = {"envoy.lb": each}
        hosts.append(host)
    return hosts


class Room:
    """The subsets of `hosts`, and what they counted."""

    def __init__(self, hosts: Sequence[Host], *selectors: SubsetSelector, **lb: Any) -> None:
        self.counted: Counter[str] = Counter()
        around = Surroundings(
            Random(2), lambda: 0.0, self._count, lambda *_: None, lambda: 0, lb.pop("panic", 50.0)
        )
        weights = lb.pop("weights", {})
        config = SubsetLb(lb.pop("child", CHILD), selectors, **lb)
        self.subsets = Subsets(config, host_sets(hosts, weights=weights), around)

    def _count(self, name: str, more: int) -> None:
        self.counted[name] += more

    def pick(self, **wanted: Any) -> Host | None:
        context: Any = SimpleNamespace(route=SimpleNamespace(metadata_match=wanted))
        return self.subsets.pick_for(context)

    def picked(self, **wanted: Any) -> set[Host | None]:
        return {self.pick(**wanted) for _ in range(40)}


BY_STAGE = SubsetSelector(("stage",))
HOSTS = labelled({"stage": "a"}, {"stage": "b"}, {"stage": "a", "zone": "x"}, {})


def test_the_hosts_that_have_what_is_asked_for() -> None:
    room = Room(HOSTS, BY_STAGE)
    assert room.picked(stage="a") == {HOSTS[0], HOSTS[2]}
    assert room.picked(stage="c") == room.picked() == room.picked(zone="x") == {None}


def test_values_have_types() -> None:
    hosts = labelled({"v": True}, {"v": 1}, {"v": "1"})
    room = Room(hosts, SubsetSelector(("v",)))
    assert [room.pick(v=value) for value in (True, 1.0, "1")] == hosts


def test_a_selector_whose_keys_begin_an_earlier_ones_has_no_fallback() -> None:
    """Envoy keeps selectors in a tree, where the earlier one stands already."""
    first = SubsetSelector(("stage", "zone"))
    second = SubsetSelector(("stage",), "ANY_ENDPOINT")
    assert Room(HOSTS, first, second).pick(stage="none") is None
    assert Room(HOSTS, second, first).pick(stage="none") is not None


def test_keys_that_no_selector_has_may_be_left_out() -> None:
    assert Room(HOSTS, BY_STAGE).pick(stage="b", other=1) is None
    assert Room(HOSTS, BY_STAGE, allow_redundant_keys=True).pick(stage="b", other=1) is HOSTS[1]


def test_fewer_keys() -> None:
    both = SubsetSelector(("stage", "zone"), "KEYS_SUBSET", ("stage",))
    assert Room(HOSTS, both, BY_STAGE).picked(stage="b", zone="no") == {HOSTS[1]}


def test_fewer_keys_and_another_host_for_a_retry() -> None:
    both = SubsetSelector(("stage", "zone"), "KEYS_SUBSET", ("stage",))
    hosts = labelled(*[{"stage": "a"}] * 8)
    room = Room(hosts, both, BY_STAGE, child=RingHashLb())
    hashed = SimpleNamespace(hash=lambda _: 7, metadata_match={"stage": "a", "zone": "no"})
    context: Any = SimpleNamespace(route=hashed)
    found = [room.subsets.pick_for(context, attempt) for attempt in range(8)]
    assert len(set(found)) > 1
    assert found == [room.subsets.pick_for(context, attempt) for attempt in range(8)]


def test_a_default_that_nobody_is_in_panics_to_everybody() -> None:
    lb = {"fallback": "DEFAULT_SUBSET", "default_subset": {"stage": "none"}}
    assert Room(HOSTS, BY_STAGE, **lb).pick(stage="c") is None
    room = Room(HOSTS, BY_STAGE, panic_mode_any=True, **lb)
    assert room.picked(stage="c") == set(HOSTS)
    assert room.counted["lb_subsets_fallback_panic"] == 40


@pytest.mark.parametrize("list_as_any", [True, False])
def test_lists(list_as_any: bool) -> None:
    hosts = labelled({"stage": ["a", "b"]})
    room = Room(hosts, BY_STAGE, list_as_any=list_as_any)
    assert (room.pick(stage="b") is hosts[0]) is list_as_any
    assert (room.pick(stage=["a", "b"]) is hosts[0]) is not list_as_any
    lb: dict[str, Any] = {"fallback": "DEFAULT_SUBSET", "default_subset": {"stage": "b"}}
    room = Room(hosts, BY_STAGE, list_as_any=list_as_any, **lb)
    assert (room.pick() is hosts[0]) is list_as_any


@pytest.mark.parametrize("scale, share", [(False, 0.5), (True, 0.2)])
def test_weights_of_localities(scale: bool, share: float) -> None:
    """scale: a locality of whose hosts a quarter is left has a quarter of its weight."""
    hosts = labelled(*[{"stage": "a"}] * 5, *[{"stage": "b"}] * 3)
    for at, host in enumerate(hosts):
        host.locality = ("", "x" if at < 4 else "y", "")
    room = Room(
        [hosts[4], *hosts[5:], *hosts[:4]],
        BY_STAGE,
        child=RoundRobinLb(locality=LocalityLb(weighted=True)),
        weights={(0, ("", zone, "")): 100 for zone in "xy"},
        locality_weight_aware=True,
        scale_locality_weight=scale,
    )
    times = 2000
    counted = Counter(room.pick(stage="a") for _ in range(times))
    assert abs(counted[hosts[4]] / times - share) < 0.04
