"""`envoy.filters.http.peak_ewma`: measures how long the hosts of clusters that are balanced by that
policy take to answer. Without it the policy has nothing to go by, as in Envoy.
"""

from __future__ import annotations

from proxy.config.filters.decode_peak_ewma import TYPE_URL
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks
from proxy.http.message import Response

__all__ = ["TYPE_URL", "build"]


def build(config: None, context: FilterContext) -> Filter:
    return PeakEwma()


class PeakEwma:
    def for_route(self, overrides: tuple[object, ...]) -> Hooks:
        return _HOOKS


def _on_response(stream: FilterStream, response: Response) -> None:
    """Of the attempt that was answered, from the end of the request; nothing where the answer came
    before that, or is not an upstream's."""
    latency = stream.host.latency if stream.host is not None else None
    began = stream.tried_at or stream.sent_at
    if latency is not None and began and stream.answered_at > began:
        latency.record(stream.answered_at - began, stream.answered_at)


_HOOKS = Hooks(on_response=_on_response)
