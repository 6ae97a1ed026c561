"""Maglev: a table of prime size in which every host has its share of places (Google's paper, 3.4).

The places do not depend on the order in which hosts came. `fill` can be run in slices.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.model.balancing import MaglevLb
from proxy.upstream.balance.hashing import (
    HashPicker,
    NormalizedWeights,
    hash_key,
    xx_hash,
)
from proxy.upstream.host import Host

_ALL_BITS = 0xFFFFFFFFFFFFFFFF


class _Entry:
    __slots__ = ("at", "host", "skip", "target", "weight")

    def __init__(self, host: Host, key: bytes, weight: float, size: int) -> None:
        self.host = host
        self.weight = weight
        self.target = 0.0
        self.at = xx_hash(key) % size
        self.skip = xx_hash(key, 1) % (size - 1) + 1


def table(lb: MaglevLb, weights: NormalizedWeights) -> list[Host]:
    """The table, `lb.table_size` long; empty where there are no hosts."""
    made: list[Host | None] = []
    for _ in fill(lb, weights, made):
        pass
    return [host for host in made if host is not None]


def fill(lb: MaglevLb, weights: NormalizedWeights, made: list[Host | None]) -> Iterator[None]:
    """Fills the empty list `made`; stops for breath after each round of all hosts."""
    if not weights:
        return
    size = lb.table_size
    made.extend([None] * size)
    taken = bytearray(size)
    keyed = sorted((hash_key(host, lb.use_hostname), at) for at, (host, _) in enumerate(weights))
    entries = [_Entry(weights[at][0], key.encode(), weights[at][1], size) for key, at in keyed]
    most = max(weight for _, weight in weights)
    left = size
    turn = 0
    while True:
        turn += 1
        for entry in entries:
            if turn * entry.weight < entry.target:
                continue  # its weight is not worth a place in every round
            entry.target += most
            at, skip = entry.at, entry.skip
            while taken[at]:
                at += skip
                if at >= size:
                    at -= size
            taken[at] = 1
            made[at] = entry.host
            entry.at = at
            left -= 1
            if not left:
                return
        yield


def table_picker(found: list[Host]) -> HashPicker:
    size = len(found)

    def pick(value: int, attempt: int) -> Host | None:
        if not size:
            return None
        if attempt:
            value ^= _ALL_BITS - attempt + 1  # another place altogether (Envoy)
        return found[value % size]

    return pick
