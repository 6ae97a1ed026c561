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
