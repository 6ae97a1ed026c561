"""When to renew a certificate and when to try again: arithmetic on Unix seconds, nothing else.

Clock and randomness come in as arguments: `jitter` is a number from 0 up to 1, so that a thousand
workloads started together do not renew together.
"""

from __future__ import annotations

# Renewal falls between 45 % and 50 % of the lifetime.
_HALF_LIFE = 0.5
_JITTER_SHARE = 0.05

_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 30.0
_RETRIES_LEFT = 10.0
"""At least as often it is tried again before the certificate ends."""
_LATE_RETRY_S = 5.0
"""And so often after that."""
_MOST_PUSHBACK_S = 300.0
"""A CA that wants to be left alone for longer is asked after this time."""

_CALL_TIMEOUT_S = 10.0
_LEAST_TIMEOUT_S = 2.0
_PATIENCE_S = 30.0
"""So long a call may take where the certificate lives on for long: when all proxies renew at once
the last ones wait, and whoever gives up early asks again by a costlier way."""
_CALLS_LEFT = 20.0
_WAYS = 3.0


def renew_at(not_before: float, not_after: float, jitter: float = 0.0) -> float:
    """The moment (Unix seconds) to renew: half life, or up to 5 % of the lifetime earlier."""
    lifetime_s = not_after - not_before
    return not_before + lifetime_s * (_HALF_LIFE - _JITTER_SHARE * jitter)


def should_renew(now: float, not_before: float, not_after: float) -> bool:
    """True from half life on, for good after the end, and before the beginning.

    Before: the clock stood ahead when it was issued, and nobody whose clock is right takes it.
    """
    return now < not_before or now >= renew_at(not_before, not_after)


def retry_delay_s(failures: int, jitter: float = 0.0) -> float:
    """How long to wait after the given number of failures in a row (1, 2, ...).

    0.5 s, doubled with each failure up to 30 s, shortened by up to half by `jitter`.
    """
    # 2**6 * 0.5 s is past the ceiling already; bounding the exponent keeps the power small.
    full_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(max(failures, 1) - 1, 6))
    return full_s * (1 - 0.5 * jitter)


def retry_in_time_s(failures: int, left_s: float | None, jitter: float = 0.0) -> float:
    """The same for whoever has a certificate that ends in `left_s` (negative: it has ended; None:
    there is none), so that it is tried again often enough before."""
    delay_s = retry_delay_s(failures, jitter)
    if left_s is None:
        return delay_s
    if left_s <= 0.0:
        return min(delay_s, _LATE_RETRY_S)
    return min(delay_s, max(_FIRST_RETRY_S, left_s / _RETRIES_LEFT))


def pushback_s(told_s: float, left_s: float | None, jitter: float = 0.0) -> float:
    """How long to leave a CA alone that has asked for `told_s`. Whoever came with us was told the
    same: we come back spread over as long again, but before the certificate ends."""
    wait_s = min(told_s * (1.0 + jitter), _MOST_PUSHBACK_S)
    if left_s is None or left_s <= 0.0:
        return wait_s
    return min(wait_s, max(_FIRST_RETRY_S, left_s / 2))


def call_timeout_s(left_s: float | None) -> float:
    """How long a call may take: three ways are tried one after the other, also shortly before the
    end."""
    if left_s is None or left_s <= 0.0:
        return _CALL_TIMEOUT_S
    patience_s = min(_PATIENCE_S, max(_CALL_TIMEOUT_S, left_s / _CALLS_LEFT))
    return min(patience_s, max(_LEAST_TIMEOUT_S, left_s / _WAYS))
