"""`x-envoy-*` request headers by which a caller steers the router (Envoy's router filter docs).

A caller inside the mesh may set its own timeout and retries; at the edge they were taken out.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.config.model import RetryPolicy
from proxy.http.headers import Headers, Shape
from proxy.l7.stream import Stream
from proxy.upstream.retry import RetryRule

TIMEOUT = b"x-envoy-upstream-rq-timeout-ms"
PER_TRY_TIMEOUT = b"x-envoy-upstream-rq-per-try-timeout-ms"
MAX_RETRIES = b"x-envoy-max-retries"
RETRY_ON = b"x-envoy-retry-on"
RETRY_GRPC_ON = b"x-envoy-retry-grpc-on"
STATUS_CODES = b"x-envoy-retriable-status-codes"
CONTROLS = frozenset((TIMEOUT, PER_TRY_TIMEOUT, MAX_RETRIES, RETRY_ON, RETRY_GRPC_ON, STATUS_CODES))
MAX_KNOWN = 1024
_steering: dict[Shape, bool] = {}


def steers(headers: Headers) -> bool:
    """Is one of the control headers there? One look-up for names seen before."""
    known = _steering.get(headers.shape)
    if known is None:
        if len(_steering) >= MAX_KNOWN:
            _steering.clear()
        known = _steering[headers.shape] = not CONTROLS.isdisjoint(headers.shape.names)
    return known


def obey(stream: Stream) -> None:
    """Takes the control headers out of the request and does what they say."""
    headers = stream.request.headers
    timeout = _number(headers.get(TIMEOUT))
    if timeout is not None:
        stream.timeout_s = timeout / 1000
    per_try = _number(headers.get(PER_TRY_TIMEOUT))
    if per_try is not None:
        stream.per_try_timeout_s = per_try / 1000
    _obey_retries(stream, headers)
    for name in CONTROLS:
        headers.remove(name)


def _obey_retries(stream: Stream, headers: Headers) -> None:
    words = _words(headers.get(RETRY_ON)) | _words(headers.get(RETRY_GRPC_ON))
    policy = stream.rule.policy if stream.rule is not None else None
    if words:
        base = policy or RetryPolicy(frozenset())
        policy = replace(base, retry_on=base.retry_on | words)
    if policy is None:
        return
    count = _number(headers.get(MAX_RETRIES))
    codes = {int(word) for word in _words(headers.get(STATUS_CODES)) if word.isdigit()}
    policy = replace(
        policy,
        num_retries=policy.num_retries if count is None else count,
        retriable_status_codes=policy.retriable_status_codes | codes,
    )
    stream.rule = RetryRule(policy, stream.rule.headers if stream.rule is not None else ())


def _number(value: bytes | None) -> int | None:
    """What is not a number is as good as absent (Envoy)."""
    return int(value) if value and value.isdigit() and len(value) < 10 else None


def _words(value: bytes | None) -> frozenset[str]:
    if not value:
        return frozenset()
    return frozenset(word.strip() for word in value.decode("latin-1").split(",") if word.strip())
