"""When to try again: Envoy's `retry_on` words as pure decisions, and its back-off.

An attempt ends in a response status or a reset. Which of them may be tried again is decided here;
whether there is budget, and doing it, is the router's part.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from proxy.config.model import RetryBackOff, RetryPolicy
from proxy.http.headers import Headers
from proxy.http.message import Response

GATEWAY_ERRORS = (502, 503, 504)
# The reasons a router can lose an attempt for; Envoy's reset reasons.
CONNECT_FAILURE = "connection failure"
CONNECT_TIMEOUT = "connection timeout"
CONNECTION_TERMINATION = "connection termination"
PROTOCOL_ERROR = "protocol error"
PER_TRY_TIMEOUT = "per try timeout"
OVERFLOW = "overflow"


class RetryRule:
    """A retry policy made ready. `headers`: matchers of `retriable-headers`, already compiled."""

    __slots__ = ("_connect", "_gateway", "_on", "_reset", "_server", "headers", "policy")

    def __init__(
        self, policy: RetryPolicy, headers: tuple[Callable[[Headers], bool], ...] = ()
    ) -> None:
        self.policy = policy
        on = self._on = policy.retry_on
        self.headers = headers
        self._server = "5xx" in on
        self._gateway = "gateway-error" in on
        self._connect = bool(on & {"5xx", "gateway-error", "reset", "connect-failure"})
        self._reset = bool(on & {"5xx", "gateway-error", "reset"})

    def on_response(self, response: Response) -> bool:
        status = response.status
        if self._server and 500 <= status < 600:
            return True
        if self._gateway and status in GATEWAY_ERRORS:
            return True
        on = self._on
        if status == 409 and "retriable-4xx" in on:
            return True
        if "retriable-status-codes" in on and status in self.policy.retriable_status_codes:
            return True
        if "retriable-headers" in on and any(match(response.headers) for match in self.headers):
            return True
        return self._grpc(response) if b"grpc-status" in response.headers else False

    def _grpc(self, response: Response) -> bool:
        word = _GRPC_WORDS.get(response.headers.get(b"grpc-status") or b"")
        return word in self._on

    def on_reset(self, reason: str, sent: bool) -> bool:
        """The attempt was lost. sent: a part of the request had been written by then."""
        if reason == OVERFLOW:
            return False
        if reason in (CONNECT_FAILURE, CONNECT_TIMEOUT):
            return self._connect
        if "reset-before-request" in self._on and not sent:
            return True
        return self._reset


_GRPC_WORDS = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"13": "internal",
    b"8": "resource-exhausted",
    b"14": "unavailable",
}


def back_off_s(policy: RetryBackOff, retry: int, random: Random) -> float:
    """Before the `retry`-th retry (from 1): fully jittered and exponential, up to the maximum."""
    ceiling = min(policy.base_interval_s * (2**retry - 1), policy.max_interval_s)
    return float(random.random() * ceiling)
