"""Request headers by which a client inside the mesh steers timeouts, retries and hedging.

They are read once and never go upstream. Those of a client outside were taken out before (Envoy's
internal headers), so that whatever comes here may be believed. Timeouts and hedging are read before
the route edits the request, retries and the status of a timeout behind that: a route may give
itself the latter (Envoy).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.config.model import RetryPolicy
from proxy.http.headers import Headers, Shape, remember
from proxy.upstream.retry import RetryRule

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

TIMEOUT: Final[bytes] = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY_TIMEOUT: Final[bytes] = b"x-envoy-upstream-rq-per-try-timeout-ms"
ALT_RESPONSE = b"x-envoy-upstream-rq-timeout-alt-response"
HEDGE = b"x-envoy-hedge-on-per-try-timeout"
EXPECTED = b"x-envoy-expected-rq-timeout-ms"
IS_TIMEOUT_RETRY = b"x-envoy-is-timeout-retry"
RETRY_ON: Final[bytes] = b"x-envoy-retry-on"
RETRY_GRPC_ON: Final[bytes] = b"x-envoy-retry-grpc-on"
MAX_RETRIES: Final[bytes] = b"x-envoy-max-retries"
STATUS_CODES = b"x-envoy-retriable-status-codes"
HEADER_NAMES = b"x-envoy-retriable-header-names"
_TIMES = (TIMEOUT, PER_TRY_TIMEOUT, ALT_RESPONSE, HEDGE)
_TOO_LATE = (PER_TRY_TIMEOUT, ALT_RESPONSE, HEDGE)
_RETRIES = (RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES, STATUS_CODES, HEADER_NAMES)
_GRPC_WORDS = frozenset(
    {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)
_NO_CONTENT = 204
_MAX_KNOWN = 2048

NEITHER = (False, False)
known: dict[Shape, tuple[bool, bool]] = {}
"""By shape: are there names of times, and of retries? Most shapes have NEITHER."""


def _steers(headers: Headers) -> tuple[bool, bool]:
    shape = headers.shape
    found = known.get(shape)
    if found is None:
        names = shape.index.keys()
        found = (not names.isdisjoint(_TIMES), not names.isdisjoint(_RETRIES))
        found = found if any(found) else NEITHER
        remember(known, shape, shape, found, _MAX_KNOWN)
    return found


def take_times(stream: Stream, respects_expected: bool = False) -> None:
    """The client's own timeouts, and whether it wants hedging, in place of the route's.

    respects_expected: if a proxy before us told how long it waits, that is the timeout; the
    client's own header is left as it is then (Envoy)."""
    headers = stream.request.headers
    expected = respects_expected and EXPECTED in headers
    if not expected and not _steers(headers)[0]:
        return
    timeout_ms = _whole(headers.get(EXPECTED if expected else TIMEOUT))
    if timeout_ms is not None:
        stream.timeout_s = timeout_ms / 1000
    per_try_ms = _whole(headers.get(PER_TRY_TIMEOUT))
    if per_try_ms is not None:
        stream.per_try_timeout_s = per_try_ms / 1000
    if ALT_RESPONSE in headers:
        stream.timeout_status = _NO_CONTENT
    hedges = headers.get(HEDGE)
    if hedges in (b"true", b"false"):
        stream.may_hedge = hedges == b"true"
    for name in _TIMES:
        if name != TIMEOUT or not expected:
            headers.remove(name)


def take_retries(stream: Stream, rule: RetryRule | None) -> RetryRule | None:
    """`rule` with what the client wants besides; None: nothing is tried again. Of the times only
    the route can have given any by now, and the upstream sees none but the whole timeout."""
    headers = stream.request.headers
    times, steers = _steers(headers)
    if times:
        if ALT_RESPONSE in headers:
            stream.timeout_status = _NO_CONTENT
        for name in _TOO_LATE:
            headers.remove(name)
    if not steers:
        return rule
    if rule is not None or RETRY_ON in headers or RETRY_GRPC_ON in headers:
        rule = _steered(rule or RetryRule(RetryPolicy(frozenset())), headers)
    for name in _RETRIES:
        headers.remove(name)
    return rule


def _steered(rule: RetryRule, headers: Headers) -> RetryRule:
    policy = rule.policy
    http = {word for word in _listed(headers, RETRY_ON) if word not in _GRPC_WORDS}
    grpc = {word for word in _listed(headers, RETRY_GRPC_ON) if word in _GRPC_WORDS}
    retries = _whole(headers.get(MAX_RETRIES))
    codes = {int(code) for code in _listed(headers, STATUS_CODES) if code.isdigit()}
    names = [name.lower().encode("latin-1") for name in _listed(headers, HEADER_NAMES)]
    steered = replace(
        policy,
        retry_on=policy.retry_on | http | grpc,
        num_retries=policy.num_retries if retries is None else retries,
        retriable_status_codes=policy.retriable_status_codes | codes,
    )
    present = tuple((lambda found, name=name: name in found) for name in names)
    return RetryRule(steered, (*rule.headers, *present), rule.requests)


def tell_time_left(stream: Stream, now: float) -> None:
    """`x-envoy-expected-rq-timeout-ms` of a retry: what is left of the route's timeout, or the
    attempt's own if that is shorter. 0 would be none: it is 1 then."""
    timeout_ms = int(stream.timeout_s * 1000)
    expected_ms = 0 if stream.may_hedge else int(stream.per_try_timeout_s * 1000)
    expected_ms = expected_ms or timeout_ms
    if not expected_ms:
        return
    if timeout_ms:
        gone_ms = int((now - stream.sent_at) * 1000) if stream.sent_at else 0
        expected_ms = max(1, min(expected_ms, timeout_ms - gone_ms))
    stream.request.headers.set(EXPECTED, b"%d" % expected_ms)


def tell_timeout_retry(stream: Stream) -> None:
    """`include_is_timeout_retry_header`"""
    said = b"true" if stream.timeout_retry else b"false"
    stream.request.headers.set(IS_TIMEOUT_RETRY, said)


def _listed(headers: Headers, name: bytes) -> list[str]:
    words = (headers.get(name) or b"").decode("latin-1").split(",")
    return [word.strip() for word in words if word.strip()]


def _whole(value: bytes | None) -> int | None:
    """A number as Envoy reads it; None where it is none."""
    if value is None or not value.strip().isdigit():
        return None
    return int(value)
