"""Ketama ring hash: each host stands at many points of a ring, a hash belongs to the next one."""

from __future__ import annotations

from bisect import bisect_left
from math import ceil

from proxy.config.model.balancing import RingHashLb
from proxy.upstream.balance.hashing import (
    HashPicker,
    NormalizedWeights,
    hash_key,
    murmur_hash_2,
    xx_hash,
)
from proxy.upstream.host import Host

Ring = list[tuple[int, Host]]


def ring(lb: RingHashLb, weights: NormalizedWeights) -> tuple[Ring, dict[Host, int]]:
    """(the ring sorted by hash, how many points each host has). Every host gets its share of
    points; the smallest gets at least a whole one, unless the ring is as large as it may be."""
    if not weights:
        return [], {}
    hashed = murmur_hash_2 if lb.hash_function == "MURMUR_HASH_2" else xx_hash
    least = min(weight for _, weight in weights)
    scale = min(ceil(least * lb.minimum_ring_size) / least, float(lb.maximum_ring_size))
    points: list[tuple[int, int]] = []
    counts: dict[Host, int] = {}
    current = target = 0.0
    for index, (host, weight) in enumerate(weights):
        key = f"{hash_key(host, lb.use_hostname)}_".encode()
        target += scale * weight
        count = 0
        while current < target:
            points.append((hashed(key + b"%d" % count), index))
            count += 1
            current += 1.0
        counts[host] = count
    points.sort()
    return [(value, weights[index][0]) for value, index in points], counts


def ring_picker(found: Ring) -> HashPicker:
    hashes = [value for value, _ in found]
    hosts = [host for _, host in found]
    size = len(found)

    def pick(value: int, attempt: int) -> Host | None:
        if not size:
            return None
        at = bisect_left(hashes, value)
        return hosts[(at % size + attempt) % size]

    return pick
