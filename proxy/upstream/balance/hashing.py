"""The hashes of consistent hashing, bit for bit as Envoy has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import xxhash

from proxy.upstream.balance.host_set import HostSet
from proxy.upstream.host import Host

NormalizedWeights = list[tuple[Host, float]]
"""Weights that sum to 1."""
HashPicker = Callable[[int, int], Host | None]
"""(hash, attempt) to a host."""

_MASK = 0xFFFFFFFFFFFFFFFF
_MURMUR_MUL = 0xC6A4A7935BD1E995
_MURMUR_SEED = 0xC70F6907


def xx_hash(data: bytes, seed: int = 0) -> int:
    """xxHash64."""
    return xxhash.xxh64_intdigest(data, seed)


def murmur_hash_2(data: bytes, seed: int = _MURMUR_SEED) -> int:
    """MurmurHash64A with the seed of libstdc++'s `std::hash`."""
    length = len(data)
    found = seed ^ (length * _MURMUR_MUL & _MASK)
    whole = length & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little")
        found = (found ^ _mixed(word * _MURMUR_MUL & _MASK) * _MURMUR_MUL & _MASK) * _MURMUR_MUL
        found &= _MASK
    if length & 7:
        found ^= int.from_bytes(data[whole:], "little")
        found = found * _MURMUR_MUL & _MASK
    found = _mixed(found) * _MURMUR_MUL & _MASK
    return _mixed(found)


def _mixed(value: int) -> int:
    return value ^ (value >> 47)


def hash_key(host: Host, use_hostname: bool) -> str:
    """What a host's places are made of: `hash_key` of its `envoy.lb` metadata, else its address."""
    given = host.metadata.get("envoy.lb", {}).get("hash_key")
    if isinstance(given, str) and given:
        return given
    return host.hostname if use_hostname else host.text


def normalized_weights(one: HostSet, everybody: bool, by_locality: bool) -> NormalizedWeights:
    """Each host's share of the load. everybody: also those that are not healthy (panic)."""
    if not by_locality or not any(zone.weight for zone in one.localities):
        return _shares(one.hosts if everybody else one.healthy, 1.0)
    total = sum(zone.weight for zone in one.localities)
    found: NormalizedWeights = []
    for zone in one.localities:
        if zone.weight:
            found += _shares(zone.hosts if everybody else zone.healthy, zone.weight / total)
    return found


def _shares(hosts: Sequence[Host], of: float) -> NormalizedWeights:
    total = sum(host.weight for host in hosts)
    return [(host, host.weight * of / total) for host in hosts]
