"""Few ranges around many addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from controlplane.emit.sidecars.ranges import MOST, around


def test_neighbours_have_one_range() -> None:
    some = [f"10.96.{n}.{m}" for n in range(100) for m in range(3)]
    assert around(some) == ("10.96.0.0/16",)
    assert around([*some, "fd00:10:96::1", "fd00:10:96::ffff"])[1:] == ("fd00:10:96::/64",)


def test_many_networks_are_few_ranges_around_all_of_them() -> None:
    some = [f"{n % 200}.{n % 251}.0.1" for n in range(1, 2000)]
    some += [f"{n:x}::1" for n in range(0x2000, 0x2100)]
    found = [ip_network(one) for one in around(some)]
    for version in (4, 6):
        assert 1 <= sum(one.version == version for one in found) <= MOST
    for one in map(ip_address, some):
        assert any(one in network for network in found)


def test_the_order_of_addresses_does_not_matter() -> None:
    some = [f"{n}.0.0.1" for n in range(1, 12)]
    assert around(some) == around(reversed(some))
    assert around(()) == ()
