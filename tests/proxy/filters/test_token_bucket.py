"""Token buckets: how they fill, and which one is asked."""

from __future__ import annotations

from proxy.config.filters.decode_local_ratelimit import LocalDescriptor
from proxy.config.filters.decode_local_ratelimit import TokenBucket as Config
from proxy.filters.token_bucket import Buckets, TokenBucket


def test_a_bucket_is_full_at_first_and_fills_steadily() -> None:
    bucket = TokenBucket(Config(2, 1, 10.0), now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.reset_s(0.0) == 10
    assert not bucket.take(9.9)
    assert bucket.take(10.1)
    assert not bucket.take(10.2)


def test_a_bucket_holds_no_more_than_it_may() -> None:
    bucket = TokenBucket(Config(2, 5, 1.0), now=0.0)
    assert bucket.remaining(1000.0) == 2
    assert bucket.reset_s(1000.0) == 0


def test_a_denied_request_takes_nothing() -> None:
    bucket = TokenBucket(Config(1, 1, 10.0), now=0.0)
    bucket.take(0.0)
    for tenth in range(1, 10):
        assert not bucket.take(float(tenth))
    assert bucket.take(10.01)


USER = (("user", "bob"),)
ANYBODY = (("user", ""),)


def buckets(
    *descriptors: LocalDescriptor, default: int = 10, always: bool = True, dynamic: int = 2
) -> Buckets:
    return Buckets(Config(default, 1, 1000.0), descriptors, always, dynamic, now=0.0)


def test_a_descriptor_has_its_own_bucket_and_the_default_one_counts_too() -> None:
    made = buckets(LocalDescriptor(USER, Config(1, 1, 1000.0)), default=2)
    assert made.take([(USER, 1)], 0.0)[0]
    allowed, bucket = made.take([(USER, 1)], 0.0)
    assert (allowed, bucket and bucket.max_tokens) == (False, 1)
    assert made.take([], 0.0)[0]
    assert not made.take([], 0.0)[0]


def test_the_default_bucket_is_spared_when_it_is_not_always_to_count() -> None:
    made = buckets(LocalDescriptor(USER, Config(5, 1, 1000.0)), default=1, always=False)
    assert all(made.take([(USER, 1)], 0.0)[0] for _ in range(5))
    assert made.take([], 0.0)[0]


def test_any_value_gets_a_bucket_of_its_own_and_the_oldest_one_is_forgotten() -> None:
    made = buckets(LocalDescriptor(ANYBODY, Config(1, 1, 1000.0)), dynamic=2)
    one, two, three = ((("user", name),) for name in ("one", "two", "three"))
    assert [made.take([(each, 1)], 0.0)[0] for each in (one, two, one, three)] == [
        True, True, False, True,
    ]  # fmt: skip
    assert made.take([(two, 1)], 0.0)[0]  # it came longest ago, so its bucket was the one to go


def test_the_slowest_of_several_decides() -> None:
    slow, fast = (("k", "slow"),), (("k", "fast"),)
    made = buckets(
        LocalDescriptor(fast, Config(1, 1, 1.0)), LocalDescriptor(slow, Config(2, 1, 1000.0))
    )
    assert made.take([(fast, 1), (slow, 1)], 0.0)[1].max_tokens == 2  # type: ignore[union-attr]


def test_a_request_may_cost_more_than_one_token() -> None:
    made = buckets(LocalDescriptor(USER, Config(3, 1, 1000.0)))
    assert made.take([(USER, 2)], 0.0)[0]
    assert not made.take([(USER, 2)], 0.0)[0]


def test_without_a_bucket_nothing_is_limited() -> None:
    made = Buckets(None, (), True, 20, now=0.0)
    assert made.take([], 0.0) == (True, None)
