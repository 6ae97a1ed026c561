"""Hashes and generators that must be those of other programs, and bounded loads."""

from __future__ import annotations

from random import Random

from proxy.config.model.balancing import RingHashLb
from proxy.upstream.balance.bounded_load import bounded, mt19937
from proxy.upstream.balance.hashing import murmur_hash_2, xx_hash
from proxy.upstream.balance.maglev import table_picker
from proxy.upstream.balance.ring_hash import ring, ring_picker
from tests.support.hosts import a_host


def test_xx_hash() -> None:
    """xxHash's own test vectors."""
    assert xx_hash(b"") == 0xEF46DB3751D8E999
    assert xx_hash(b"a") == 0xD24EC4F1A98C6E5B
    assert xx_hash(b"foobar") != xx_hash(b"foobar", 1)


def test_murmur_hash_2() -> None:
    """libstdc++'s std::hash<std::string>, the values that Envoy's own tests have."""
    assert murmur_hash_2(b"foo") == 9631199822919835226
    assert murmur_hash_2(b"bar") == 11474628671133349555


def test_the_generator_of_cpp() -> None:
    """The C++ standard, [rand.predef]: the 10,000th word of a default mt19937."""
    words = mt19937(5489)
    for _ in range(9999):
        words.getrandbits(32)
    assert words.getrandbits(32) == 4123659995


class TestBoundedLoad:
    def test_an_idle_cluster_keeps_to_the_hash(self) -> None:
        hosts = [a_host(at) for at in range(4)]
        pick = bounded(
            lambda value, _: hosts[value % 4], [(host, 0.25) for host in hosts], 150, lambda: 0
        )
        assert [pick(value, 0) for value in range(4)] == hosts

    def test_who_has_too_much_hands_on_always_to_the_same(self) -> None:
        hosts = [a_host(at) for at in range(4)]
        hosts[0].active = 4
        pick = bounded(lambda *_: hosts[0], [(host, 0.25) for host in hosts], 150, lambda: 4)
        for value in range(20):
            found = pick(value, 0)
            assert found is not hosts[0] and pick(value, 0) is found
        assert {pick(value, 0) for value in range(40)} == set(hosts[1:])

    def test_the_least_loaded_when_all_have_too_much(self) -> None:
        hosts = [a_host(at) for at in range(3)]
        for host, active in zip(hosts, (9, 5, 7), strict=True):
            host.active = active
        pick = bounded(lambda *_: hosts[0], [(host, 1 / 3) for host in hosts], 100, lambda: 0)
        assert pick(Random(1).getrandbits(64), 0) is hosts[1]

    def test_nobody(self) -> None:
        assert bounded(lambda *_: None, [], 100, lambda: 0)(1, 0) is None

    def test_the_request_that_asks_counts_too(self) -> None:
        """One in flight at each of four, five with this one: of 100 % each may have two."""
        hosts = [a_host(at) for at in range(4)]
        hosts[0].active = 2
        pick = bounded(lambda *_: hosts[0], [(host, 0.25) for host in hosts], 100, lambda: 4)
        assert pick(7, 0) is hosts[0]


def test_a_ring_is_not_larger_than_it_may_be() -> None:
    hosts = [a_host(at) for at in range(4)]
    lb = RingHashLb(minimum_ring_size=64, maximum_ring_size=8)
    points, counts = ring(lb, [(host, 0.25) for host in hosts])
    assert len(points) == 8 and set(counts.values()) == {2}


def test_a_hash_on_a_point_belongs_to_it() -> None:
    hosts = [a_host(at) for at in range(2)]
    pick = ring_picker([(10, hosts[0]), (20, hosts[1])])
    found = [pick(value, 0) for value in (9, 10, 11, 20, 21)]
    assert found == [hosts[0], hosts[0], hosts[1], hosts[1], hosts[0]]
    assert pick(9, 1) is hosts[1]


def test_another_attempt_has_another_place_of_the_table() -> None:
    hosts = [a_host(at) for at in range(7)]
    pick = table_picker(hosts)
    assert pick(0, 0) is hosts[0]
    assert [pick(0, at) for at in (1, 2)] == [hosts[(2**64 - at) % 7] for at in (1, 2)]
