"""Which requests are traced, and how the request id bears that on (Envoy's UUID extension).

The first eight digits of `x-request-id` are the chance by which is drawn, so that all proxies on
the way of a request that are told the same share draw alike; the digit at 14, which says
"version 4" in a random UUID, says why it is traced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Literal

from proxy.config.model import FractionalPercent
from proxy.config.model.tracing import Sampling
from proxy.http.headers import Headers
from proxy.runtime import RuntimeValues

Reason = Literal["random_sampling", "service_forced", "client_enabled", "not_traceable"]
"""Names of statistics, too."""

REQUEST_ID = b"x-request-id"
_BEGINS = re.compile(rb"[0-9a-fA-F]{8}")
_UUID_LENGTH, _AT = 36, 14
_OF_DIGIT: Mapping[int, Reason] = {
    ord("9"): "random_sampling",
    ord("a"): "service_forced",
    ord("b"): "client_enabled",
}
_DIGITS: Mapping[Reason, bytes] = {
    "random_sampling": b"9",
    "service_forced": b"a",
    "client_enabled": b"b",
    "not_traceable": b"4",
}
_CHANCES = 10_000


class Decider:
    """packs: the request id bears the decision on. by_id: it decides; else every request is
    traced, but for what a parent or a sampler says."""

    def __init__(self, by_id: bool, packs: bool, random: Random, runtime: RuntimeValues) -> None:
        self._by_id = by_id
        self._packs = packs
        self._random = random
        self._runtime = runtime

    def decide(self, headers: Headers, sampling: Sampling) -> Reason:
        if not self._by_id:
            return "random_sampling"
        request_id = headers.get(REQUEST_ID)
        begins = _BEGINS.match(request_id) if request_id is not None else None
        if request_id is None or begins is None:
            return "not_traceable"
        chance = int(begins[0], 16) % _CHANCES
        told = borne(request_id)
        reason = told
        if told == "not_traceable":
            reason = self._drawn(headers, sampling, chance)
        if reason != "not_traceable" and not self._lucky(sampling.overall, chance):
            reason = "not_traceable"
        if reason != told and self._packs:
            bear(headers, request_id, reason)
        return reason

    def _drawn(self, headers: Headers, sampling: Sampling, chance: int) -> Reason:
        if b"x-client-trace-id" in headers and self._lucky(
            sampling.client, self._random.randrange(_CHANCES * 100)
        ):
            return "client_enabled"
        if b"x-envoy-force-trace" in headers:
            return "service_forced"
        return "random_sampling" if self._lucky(sampling.random, chance) else "not_traceable"

    def _lucky(self, share: FractionalPercent, chance: int) -> bool:
        above, below = self._runtime.fraction(share.runtime_key, share.numerator, share.denominator)
        return chance % below < above


def borne(request_id: bytes) -> Reason:
    """What an id says that came with the request."""
    if len(request_id) != _UUID_LENGTH:
        return "not_traceable"
    return _OF_DIGIT.get(request_id[_AT], "not_traceable")


def bear(headers: Headers, request_id: bytes, reason: Reason) -> None:
    if len(request_id) == _UUID_LENGTH:
        headers.set(REQUEST_ID, request_id[:_AT] + _DIGITS[reason] + request_id[_AT + 1 :])
