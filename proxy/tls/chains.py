"""What peers have shown beside their certificates, for the sessions that resume theirs: a ticket of
OpenSSL's holds the certificate alone (BoringSSL's holds all of it).

Bounded: of too many, the one that was told first is forgotten, and has shown nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

MAX_KEPT: Final = 4096

Chain = tuple[bytes, ...]
"""DER, of a peer's certificates without its own."""


class Chains:
    """By the peer's own certificate, DER."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[bytes, Chain] = {}

    def __contains__(self, der: bytes) -> bool:
        return der in self._kept

    def remember(self, der: bytes, chain: Chain) -> None:
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[der] = _one_of(chain)

    def of(self, der: bytes) -> Chain:
        return self._kept.get(der, ())


@lru_cache(maxsize=64)
def _one_of(chain: Chain) -> Chain:
    """Of those that are equal: thousands of workloads have the same authority."""
    return chain
