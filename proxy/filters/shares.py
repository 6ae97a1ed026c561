"""Shares of requests: a percentage that a runtime key may override, drawn per request."""

from __future__ import annotations

from collections.abc import Callable

from proxy import match
from proxy.config.model import FractionalPercent
from proxy.filters.api import FilterContext

Draw = Callable[[], bool]


def draw(share: FractionalPercent | None, context: FilterContext, default: bool = False) -> Draw:
    """True for that share of the calls. default: when there is no share at all."""
    if share is None:
        return lambda: default
    if not share.runtime_key and share.numerator in (0, share.denominator):
        always = share.numerator > 0
        return lambda: always
    return match.fraction(share, context.random, context.runtime)
