"""How fast certificates are given out: per identity, per source address, and in all.

A pure function of the time (GCRA: one number for each key). Whoever comes too early is told after
how many seconds it may come again. Must not know what is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from certs.errors import CertificateError
from protos.frozen import frozen

MAX_KEYS = 20_000
_WORD = re.compile(r"(identity|source|total)=([0-9]{1,9}(?:\.[0-9]{1,9})?):([0-9]{1,9})")


@frozen
class Limit:
    """`burst` at once, and `rate` a second in the long run."""

    rate: float
    burst: int


@frozen
class IssueLimits:
    """Of certificates. The defaults let ten thousand workloads of one cluster, behind one
    address, renew at once; and a workload that asks in a loop is slowed down."""

    identity: Limit = Limit(rate=100.0, burst=5_000)
    source: Limit = Limit(rate=1_000.0, burst=20_000)
    total: Limit = Limit(rate=2_000.0, burst=40_000)


DEFAULT_LIMITS = IssueLimits()


def read_limits(words: Iterable[str]) -> IssueLimits:
    """`identity=RATE:BURST`, `source=...`, `total=...`; what is not named keeps its default.
    CertificateError names a word that is none of these."""
    given: dict[str, Limit] = {}
    for word in words:
        found = _WORD.fullmatch(word)
        limit = Limit(float(found[2]), int(found[3])) if found else None
        if found is None or limit is None or limit.rate <= 0 or limit.burst < 1:
            raise CertificateError(
                f"--issue-limit {word!a}: expected identity, source or total, '=', certificates a "
                "second, ':' and how many at once, e.g. identity=100:5000"
            )
        given[found[1]] = limit
    return replace(DEFAULT_LIMITS, **given)


class RateLimit:
    """One limit for each key; of more than MAX_KEYS the one that was quiet longest is forgotten."""

    __slots__ = ("_free_at", "_interval_s", "_tolerance_s")

    def __init__(self, limit: Limit) -> None:
        self._interval_s = 1.0 / limit.rate
        self._tolerance_s = (limit.burst - 1) * self._interval_s
        self._free_at: dict[str, float] = {}

    def wait_s(self, key: str, now: float) -> float:
        """0 if it may come now; counts nothing. `now` must never go back: monotonic seconds."""
        return max(0.0, self._free_at.get(key, 0.0) - self._tolerance_s - now)

    def count(self, key: str, now: float) -> None:
        """One has come."""
        free_at = max(self._free_at.pop(key, 0.0), now) + self._interval_s
        if len(self._free_at) >= MAX_KEYS:
            del self._free_at[next(iter(self._free_at))]
        self._free_at[key] = free_at


class IssueRates:
    """The three limits. `source` is asked before credentials are looked at, since that costs more
    than the certificate; the others after, so that strangers use up nobody's share."""

    __slots__ = ("_identity", "_source", "_total")

    def __init__(self, limits: IssueLimits) -> None:
        self._identity = RateLimit(limits.identity)
        self._source = RateLimit(limits.source)
        self._total = RateLimit(limits.total)

    def admit_source(self, source: str, now: float) -> float:
        """Seconds to wait; 0: it is counted and may go on."""
        wait_s = self._source.wait_s(source, now)
        if not wait_s:
            self._source.count(source, now)
        return wait_s

    def admit_identity(self, identity: str, now: float) -> float:
        wait_s = max(self._identity.wait_s(identity, now), self._total.wait_s("", now))
        if not wait_s:
            self._identity.count(identity, now)
            self._total.count("", now)
        return wait_s
