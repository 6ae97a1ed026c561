"""Responses into a store: what is refused and why, sliced, with a hand-driven clock."""

from __future__ import annotations

from protos.types import CDS, EDS, LDS
from proxy.config.decode import Resource, decode
from proxy.config.model import Bootstrap
from proxy.xds.intake import LARGE_BYTES, Clock, Intake
from proxy.xds.store import Store
from proxy.xds.update import Received, Update
from tests.support.envoy_resources import cluster, endpoints, listener


class Rig:
    """An intake whose clock moves by `step_s` whenever it is looked at."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s, self.step_s = 0.0, step_s
        self.pauses = 0
        self.aside: list[int] = []
        self.store = Store(Bootstrap(cds_ads=True, lds_ads=True), frozenset(), 0.0)
        clock = Clock(self.monotonic, lambda: 1e9, self.pause, self.decode_aside)
        self.intake = Intake(self.store, clock)

    def monotonic(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    async def pause(self) -> None:
        self.pauses += 1

    async def decode_aside(self, type_url: str, body: bytes) -> Resource:
        self.aside.append(len(body))
        return decode(type_url, body)


def of_cluster(name: str, inside: str = "", version: str = "1") -> Received:
    return Received(name, version, CDS, cluster(inside or name).SerializeToString())


async def test_good_ones_are_taken_and_bad_ones_named() -> None:
    rig = Rig()
    resources = (
        of_cluster("a"),
        of_cluster("a", version="2"),
        of_cluster("b", inside="c"),
        Received("l", "1", LDS, listener("l", "r").SerializeToString()),
        Received("x", "1", CDS, b"\xff\xff"),
        of_cluster("d"),
    )
    errors = await rig.intake.take(Update(CDS, "n", "1", resources))
    assert errors == {
        "a": "is in the response twice",
        "b": "is `c` inside",
        "l": "is a LDS, not a CDS",
        "x": "is not a serialized envoy.config.cluster.v3.Cluster",
    }
    assert rig.store.versions(CDS) == {"a": "1", "d": "1"}
    assert {name for _, name in rig.intake.rejected} == set(errors)


async def test_a_removal_comes_before_what_takes_its_place() -> None:
    rig = Rig()
    one = Received("one", "1", LDS, listener("one", "r", 80).SerializeToString())
    two = Received("two", "1", LDS, listener("two", "r", 80).SerializeToString())
    assert await rig.intake.take(Update(LDS, "1", "1", (one,))) == {}
    assert await rig.intake.take(Update(LDS, "2", "2", (two,), removed=("one",))) == {}
    assert rig.store.versions(LDS) == {"two": "1"}


async def test_a_complete_response_removes_what_it_lacks_but_not_what_it_has_wrong() -> None:
    rig = Rig()
    await rig.intake.take(Update(CDS, "1", "1", (of_cluster("a"), of_cluster("b"))))
    bad = Received("a", "2", CDS, cluster("a", lb_policy="CLUSTER_PROVIDED").SerializeToString())
    errors = await rig.intake.take(Update(CDS, "2", "2", (bad,), complete=True))
    assert errors.keys() == {"a"}
    assert rig.store.versions(CDS) == {"a": "1"}
    await rig.intake.take(Update(CDS, "3", "3", (), complete=True))
    assert rig.store.versions(CDS) == {}
    assert rig.intake.rejected == {}


async def test_a_large_push_is_cut_into_slices_and_large_resources_go_aside() -> None:
    rig = Rig(step_s=0.001)
    resources = tuple(of_cluster(f"c{i}") for i in range(10))
    assert await rig.intake.take(Update(CDS, "1", "1", resources)) == {}
    assert rig.pauses >= 3
    assert rig.aside == []
    big = endpoints("c0", *range(1, 400)).SerializeToString()
    assert len(big) > LARGE_BYTES
    assert await rig.intake.take(Update(EDS, "1", "1", (Received("c0", "1", EDS, big),))) == {}
    assert rig.aside == [len(big)]
    assert len(rig.store.snapshot().assignments["c0"].localities[0].endpoints) == 399
