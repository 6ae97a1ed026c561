"""Token buckets and the buckets of descriptors: the arithmetic of a local rate limit."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from proxy.config.filters.decode_local_ratelimit import LocalDescriptor
from proxy.config.filters.decode_local_ratelimit import TokenBucket as BucketConfig

Descriptor = tuple[tuple[str, str], ...]


class TokenBucket:
    """Fills steadily, not in gulps (as Envoy's); full at the start."""

    __slots__ = ("_at", "max_tokens", "per_s", "tokens")

    def __init__(self, config: BucketConfig, now: float) -> None:
        self.max_tokens = config.max_tokens
        self.per_s = config.tokens_per_fill / config.fill_interval_s
        self.tokens = float(config.max_tokens)
        self._at = now

    def take(self, now: float, count: int = 1) -> bool:
        self._fill(now)
        if self.tokens < count:
            return False
        self.tokens -= count
        return True

    def remaining(self, now: float) -> int:
        self._fill(now)
        return int(self.tokens)

    def reset_s(self, now: float) -> int:
        """Until there is a token again."""
        self._fill(now)
        return ceil(max(0.0, 1.0 - self.tokens) / self.per_s)

    def _fill(self, now: float) -> None:
        self.tokens = min(self.max_tokens, self.tokens + (now - self._at) * self.per_s)
        self._at = now


class Buckets:
    """The default bucket and those of the descriptors. A descriptor with an entry of any value has
    a bucket per value, at most `max_dynamic` of them: who came longest ago loses its own."""

    def __init__(
        self,
        default: BucketConfig | None,
        descriptors: Sequence[LocalDescriptor],
        always_default: bool,
        max_dynamic: int,
        now: float,
    ) -> None:
        self._default = TokenBucket(default, now) if default is not None else None
        self._always_default = always_default
        self._exact: dict[Descriptor, TokenBucket] = {}
        self._any: list[tuple[LocalDescriptor, dict[Descriptor, TokenBucket]]] = []
        self._max_dynamic = max_dynamic
        for each in descriptors:
            if all(value for _, value in each.entries):
                self._exact[each.entries] = TokenBucket(each.bucket, now)
            else:
                self._any.append((each, {}))

    def take(
        self, descriptors: Sequence[tuple[Descriptor, int]], now: float
    ) -> tuple[bool, TokenBucket | None]:
        """descriptors: with the tokens that each costs. Answers whether the request may go, and
        the bucket that said so."""
        found = self._matching(descriptors, now)
        for bucket, cost in found:
            if not bucket.take(now, cost):
                return False, bucket
        first = found[0][0] if found else None
        default = self._default
        if default is None or (first is not None and not self._always_default):
            return True, first
        if not default.take(now):
            return False, default
        return True, first or default

    def _matching(
        self, descriptors: Sequence[tuple[Descriptor, int]], now: float
    ) -> list[tuple[TokenBucket, int]]:
        """The slowest first."""
        found = [
            (bucket, cost)
            for descriptor, cost in descriptors
            if (bucket := self._of(descriptor, now)) is not None
        ]
        found.sort(key=lambda each: each[0].per_s)
        return found

    def _of(self, descriptor: Descriptor, now: float) -> TokenBucket | None:
        bucket = self._exact.get(descriptor)
        if bucket is not None:
            return bucket
        for config, made in self._any:
            if _fits(config.entries, descriptor):
                bucket = made.pop(descriptor, None) or TokenBucket(config.bucket, now)
                if len(made) >= self._max_dynamic:
                    del made[next(iter(made))]
                made[descriptor] = bucket
                return bucket
        return None


def _fits(pattern: Descriptor, descriptor: Descriptor) -> bool:
    return len(pattern) == len(descriptor) and all(
        key == wanted and (not value or value == given)
        for (wanted, value), (key, given) in zip(pattern, descriptor, strict=True)
    )
