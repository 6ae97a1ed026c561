"""Who leads: never two at a time, and always somebody again."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controlplane.sources.kubernetes.client import Client
from controlplane.sources.kubernetes.leader import NAME, Leader
from controlplane.sources.kubernetes.lease import Election, Terms
from tests.support.kube_running import Ticket
from tests.support.kube_server import KubeServer, serving

TERMS = Terms()
WHO = st.integers(0, 2)


class Elections(RuleBasedStateMachine):
    """Three candidates, each with a clock of its own, a server that lets one of two writers win,
    and answers that may be long in coming."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.candidates = [Election(f"c{i}", "lease", TERMS) for i in range(3)]
        self.offsets = [0.0, 5000.0, -700.0]
        self.read: list[Any] = [None, None, None]

    def clock(self, who: int) -> float:
        return self.now + self.offsets[who]

    @rule(seconds=st.sampled_from((0.1, 2.0, 4.9, 9.9, 10.0, 15.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(who=WHO)
    def reads(self, who: int) -> None:
        self.read[who] = copy.deepcopy(self.lease)

    @rule(who=WHO, takes_s=st.sampled_from((0.0, 1.0, 20.0)), answered=st.booleans())
    def bids(self, who: int, takes_s: float, answered: bool) -> None:
        """With what it has read last, which may be old by now."""
        asked_at, over = self.clock(who), self.read[who]
        bid = self.candidates[who].bid(over, asked_at, f"{self.now} {self.version}")
        if bid is None:
            self.candidates[who].lost()
            return
        there = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if there != (over["metadata"]["resourceVersion"] if over else None):
            self.candidates[who].lost()  # 409
            return
        self.version += 1
        bid["metadata"] = {"name": "lease", "resourceVersion": str(self.version)}
        self.lease = bid
        self.now += takes_s
        if answered:
            self.read[who] = copy.deepcopy(bid)
            self.candidates[who].won(bid, asked_at)

    @rule(who=WHO, seconds=st.sampled_from((2.0, 5.0, 15.0)))
    def goes_round(self, who: int, seconds: float) -> None:
        """As a candidate does when nothing is in its way."""
        self.reads(who)
        self.bids(who, 0.0, True)
        self.now += seconds

    @rule(who=WHO)
    def resigns(self, who: int) -> None:
        read = self.read[who]
        if read is not None and read == self.lease and self.candidates[who].holds(read):
            self.version += 1
            freed = self.candidates[who].release(read, "now")
            freed["metadata"] = {"name": "lease", "resourceVersion": str(self.version)}
            self.lease = freed

    @invariant()
    def one_leads_at_most(self) -> None:
        leading = [c.leads(self.clock(who)) for who, c in enumerate(self.candidates)]
        assert sum(leading) <= 1, leading

    def teardown(self) -> None:
        """Whoever goes on alone leads after one more lease."""
        for _ in range(2):
            self.reads(1)
            self.bids(1, 0.0, True)
            self.now += TERMS.lease_s
        self.reads(1)
        self.bids(1, 0.0, True)
        assert self.candidates[1].leads(self.clock(1))


Elections.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestElections = Elections.TestCase


def test_what_stands_in_a_lease() -> None:
    election = Election("me", "lease", TERMS)
    first = election.bid(None, 0.0, "T1")
    assert first == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lease"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "T1",
            "renewTime": "T1",
            "leaseTransitions": 0,
        },
    }
    renewed = election.bid(first, 2.0, "T2")
    assert renewed is not None
    assert (renewed["spec"]["acquireTime"], renewed["spec"]["renewTime"]) == ("T1", "T2")
    other = Election("you", "lease", TERMS)
    assert other.bid(renewed, 100.0, "T3") is None, "it has only just been seen"
    assert other.bid(renewed, 114.9, "T3") is None
    taken = other.bid(renewed, 115.0, "T3")
    assert taken is not None
    assert taken["spec"] | {"leaseTransitions": 1, "acquireTime": "T3"} == taken["spec"]
    freed = other.release(taken, "T4")
    assert election.bid(freed, 3.0, "T5") is not None, "nobody holds it"


def test_a_lease_counts_for_as_long_as_it_says() -> None:
    theirs = {"metadata": {}, "spec": {"holderIdentity": "you", "leaseDurationSeconds": 60}}
    election = Election("me", "lease", TERMS)
    assert election.bid(theirs, 0.0, "T") is None
    assert election.bid(theirs, 59.0, "T") is None
    assert election.bid(theirs, 60.0, "T") is not None


# --------------------------------------------------------------------------- with a server


async def test_another_one_leads_when_the_first_resigns() -> None:
    server, told = KubeServer(), list[str]()
    terms = Terms(retry_s=0.02)
    async with serving(server.handle) as url, Client(Ticket(url)) as client:
        leaders = [Leader(client, "weft", who, told.append, terms) for who in ("a", "b")]
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(leader.run()) for leader in leaders]
        await _soon(lambda: sum(bool(one.term) for one in leaders) == 1)
        first, second = sorted(leaders, key=lambda one: -one.term)
        tasks[leaders.index(first)].cancel()
        await first.resign()
        assert not first.term
        await _soon(lambda: second.term == 1)
        (lease,) = server.cluster.objects("leases").values()
        assert lease["metadata"]["name"] == NAME
        assert lease["spec"]["leaseTransitions"] == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(told)


async def test_a_lease_is_given_back_though_its_last_renewal_failed() -> None:
    server, told = KubeServer(), list[str]()
    async with serving(server.handle) as url, Client(Ticket(url)) as client:
        leader = Leader(client, "weft", "a", told.append, Terms(retry_s=0.02))
        task = asyncio.get_running_loop().create_task(leader.run())
        await _soon(lambda: bool(leader.term))
        server.forbidden.add(("update", "leases"))
        await _soon(lambda: any(told))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.forbidden.clear()
        await leader.resign()
    (lease,) = server.cluster.objects("leases").values()
    assert lease["spec"]["holderIdentity"] == ""


async def test_it_says_which_rule_is_missing() -> None:
    server, told = KubeServer(forbidden={("get", "leases")}), list[str]()
    async with serving(server.handle) as url, Client(Ticket(url)) as client:
        leader = Leader(client, "weft", "a", told.append, Terms(retry_s=0.01))
        task = asyncio.get_running_loop().create_task(leader.run())
        await _soon(lambda: told)
        assert "resources: [leases], verbs: [get, create, update]} (Role in weft)" in told[0]
        server.forbidden.clear()
        await _soon(lambda: told[-1] == "" and leader.term)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _soon(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 -- two tasks and a server
            await asyncio.sleep(0.005)
