"""Shares of requests: a percentage that a runtime key may override, drawn per request."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model import FractionalPercent
from proxy.filters.api import FilterContext

Draw = Callable[[], bool]


def draw(share: FractionalPercent | None, context: FilterContext, default: bool = False) -> Draw:
    """True for that share of the calls. default: when there is no share at all. A runtime value is
    a percentage, or of the same denominator as the share (Envoy's rule for integers: of 100)."""
    if share is None:
        return lambda: default
    if not share.runtime_key:
        return _fixed(share.numerator / share.denominator, context)
    key, runtime = share.runtime_key, context.runtime
    random, default_percent = context.random.random, 100.0 * share.numerator / share.denominator
    return lambda: random() * 100.0 < runtime(key, default_percent)


def _fixed(part: float, context: FilterContext) -> Draw:
    if part <= 0.0 or part >= 1.0:
        always = part > 0.0
        return lambda: always
    random = context.random.random
    return lambda: random() < part
