"""When to try again: Envoy's `retry_on` words as pure decisions, and its back-off.

An attempt ends in a response or a reset. Which of them may be tried again is decided here; whether
there is budget, and doing it, is the router's part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from proxy.config.model import RateLimitedBackOff, RetryBackOff, RetryPolicy
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream.host import Host

GATEWAY_ERRORS = (502, 503, 504)
RATE_LIMITED = b"x-envoy-ratelimited"
GRPC_STATUS = b"grpc-status"
# The reasons a router can lose an attempt for; Envoy's reset reasons.
CONNECT_FAILURE = "connection failure"
LOCAL_FAILURE = "local connection failure"
CONNECT_TIMEOUT = "connection timeout"
CONNECTION_TERMINATION = "connection termination"
PROTOCOL_ERROR = "protocol error"
PER_TRY_TIMEOUT = "per try timeout"
OVERFLOW = "overflow"
REMOTE_RESET = "remote reset"
REFUSED = "remote refused stream reset"
_GRPC_WORDS = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"13": "internal",
    b"8": "resource-exhausted",
    b"14": "unavailable",
}
Matcher = Callable[[Headers], bool]


def _statuses(policy: RetryPolicy) -> frozenset[int]:
    """Of answers that are not wanted."""
    on = policy.retry_on
    found = set(range(500, 600)) if "5xx" in on else set()
    if "gateway-error" in on:
        found.update(GATEWAY_ERRORS)
    if "retriable-4xx" in on:
        found.add(409)
    if "retriable-status-codes" in on:
        found.update(policy.retriable_status_codes)
    return frozenset(found)


class RetryRule:
    """A retry policy made ready. headers, requests: matchers of its retriable headers of answers
    and requests, compiled; every request is retriable where there is none of the latter."""

    __slots__ = (
        "_any_reset",
        "_connect",
        "_grpc",
        "_headers",
        "_on",
        "_rate_limited",
        "_refused",
        "_statuses",
        "_unsent",
        "headers",
        "policy",
        "requests",
    )

    def __init__(
        self,
        policy: RetryPolicy,
        headers: tuple[Matcher, ...] = (),
        requests: tuple[Callable[[Request], bool], ...] = (),
    ) -> None:
        self.policy = policy
        self.headers = headers
        self.requests = requests
        on = self._on = policy.retry_on
        self._statuses = _statuses(policy)
        self._headers = headers if "retriable-headers" in on else ()
        self._rate_limited = "envoy-ratelimited" in on
        self._grpc = not on.isdisjoint(_GRPC_WORDS.values())
        self._connect = "connect-failure" in on
        self._unsent = "reset-before-request" in on
        self._any_reset = not on.isdisjoint({"5xx", "gateway-error", "reset"})
        self._refused = "refused-stream" in on

    def on_response(self, response: Response) -> bool:
        """An answer with x-envoy-ratelimited is a matter of that word alone."""
        headers = response.headers
        names = headers.shape.index
        if RATE_LIMITED in names:
            return self._rate_limited
        if response.status in self._statuses:
            return True
        if self._headers and any(match(headers) for match in self._headers):
            return True
        if not self._grpc or GRPC_STATUS not in names:
            return False
        return _GRPC_WORDS.get(headers.get(GRPC_STATUS) or b"") in self._on

    def on_reset(self, reason: str, sent: bool) -> bool:
        """The attempt was lost. sent: a part of the request had been written by then."""
        if reason == OVERFLOW:
            return False
        if self._connect and reason in (CONNECT_FAILURE, CONNECT_TIMEOUT, LOCAL_FAILURE):
            return True
        if self._unsent and not sent:
            return True
        return self._any_reset or (self._refused and reason == REFUSED)

    def allows(self, request: Request) -> bool:
        """May this request be tried again at all?"""
        return not self.requests or any(match(request) for match in self.requests)

    def avoids(self, host: Host, tried: Sequence[Host]) -> bool:
        """Would a retry rather go to another host than this one? tried: hosts of the attempts so
        far (Envoy's retry host predicates)."""
        policy = self.policy
        if policy.previous_hosts and host in tried:
            return True
        labels = host.metadata.get("envoy.lb", {})
        if policy.omit_canary_hosts and labels.get("canary"):
            return True
        return any(
            all(labels.get(key) == value for key, value in omitted.items())
            for omitted in policy.omit_host_metadata
            if omitted
        )


def back_off_s(policy: RetryBackOff, before: int, random: Random) -> float:
    """Whole milliseconds below an interval, each as likely. The interval doubles with each of the
    `before` earlier back-offs, up to the maximum (Envoy's JitteredExponentialBackOff)."""
    interval, most = int(policy.base_interval_s * 1000), int(policy.max_interval_s * 1000)
    for _ in range(before):
        if interval == most:
            break
        interval = interval * 2 if interval < most // 2 else most
    return random.randrange(interval) / 1000


def rate_limited_s(
    policy: RateLimitedBackOff, headers: Headers, unix_now: float, random: Random
) -> float | None:
    """How long the answer asks to stay away, and up to half of that again; None: it does not say,
    or too long. A header counts whose value is a whole number (Envoy)."""
    most_ms = int(policy.max_interval_s * 1000)
    for header in policy.reset_headers:
        value = headers.get(header.name.encode())
        if value is None or not value.strip().isdigit():
            continue
        wait_ms = int(value) * 1000
        if header.format == "UNIX_TIMESTAMP":
            wait_ms -= int(unix_now * 1000)
        if 0 <= wait_ms <= most_ms:
            return (wait_ms + random.randrange(wait_ms // 2)) / 1000 if wait_ms > 1 else None
    return None
