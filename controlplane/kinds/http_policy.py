"""What a VirtualService does beside routing: retries, faults, mirrors, CORS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import (
    boolean,
    duration,
    enum,
    integer,
    line,
    list_of,
    number,
    positive_duration,
    text,
)
from controlplane.kinds.http_destination import Destination
from controlplane.kinds.http_match import HEADER_NAME, StringMatch
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Record,
    names,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.yaml_nodes import Node

# Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, as Istio accepts them.
RETRY_ON = names(
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited "
    "retriable-4xx refused-stream retriable-status-codes retriable-headers "
    "http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable"
)
GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Their codes are their places in this list."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")


def _retry_on(node: Node, place: Place) -> tuple[str, ...]:
    """A comma-separated list of conditions and status codes."""
    parts = tuple(part.strip() for part in text(node, place).split(",") if part.strip())
    for part in parts:
        if part not in RETRY_ON and not re.fullmatch("[1-5][0-9][0-9]", part):
            known = ", ".join(sorted(RETRY_ON))
            message = f"no retry condition {part!r}; expected a status code or one of {known}"
            raise Invalid([place.problem(node, message)])
    return parts


@record
class HttpRetry(Record):
    attempts: int = optional(integer(0, 2**31 - 1), 0)
    per_try_timeout_s: float | None = optional(duration)
    retry_on: tuple[str, ...] = optional(_retry_on, ())
    retry_remote_localities: bool | None = optional(boolean)
    retry_ignore_previous_hosts: bool = optional(boolean, True)
    backoff_s: float | None = optional(positive_duration)

    def check(self) -> Iterator[tuple[str, str]]:
        others = (self.retry_on, self.per_try_timeout_s, self.retry_remote_localities is not None)
        if self.attempts == 0 and any(others):
            yield "attempts", "is 0, which turns retries off; the other fields must not be set"
        if self.per_try_timeout_s is not None and 0 < self.per_try_timeout_s < 0.001:
            yield "perTryTimeout", "must be at least 1ms"


# --------------------------------------------------------------------------- faults, mirrors, CORS


@record
class Percent(Record):
    value: float = optional(number(0, 100), 0.0)


@record
class FaultDelay(Record):
    UNSUPPORTED = names("exponentialDelay")
    fixed_delay_s: float | None = optional(positive_duration)
    percentage: Percent | None = optional(obj(Percent))
    percent: int | None = optional(integer(0, 100))


@record
class FaultAbort(Record):
    UNSUPPORTED = names("http2Error")
    http_status: int | None = optional(integer(200, 599))
    grpc_status: str = optional(enum(*GRPC_STATUSES), "")
    percentage: Percent | None = optional(obj(Percent))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.http_status is not None and self.grpc_status:
            yield "grpcStatus", "and httpStatus exclude each other"


@record
class HttpFault(Record):
    delay: FaultDelay | None = optional(obj(FaultDelay))
    abort: FaultAbort | None = optional(obj(FaultAbort))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.delay is None and self.abort is None:
            yield "", "needs a delay or an abort"


@record
class HttpMirror(Record):
    destination: Destination = required(obj(Destination))
    percentage: Percent | None = optional(obj(Percent))


def _max_age(node: Node, place: Place) -> float:
    value_s = positive_duration(node, place)
    if value_s != int(value_s):
        raise place.refuse(node, "whole seconds")
    return value_s


@record
class CorsPolicy(Record):
    """allow_origin: exact names, or '*', from before allowOrigins."""

    allow_origins: tuple[StringMatch, ...] = optional(list_of(obj(StringMatch)), ())
    allow_origin: tuple[str, ...] = optional(list_of(line), ())
    allow_methods: tuple[str, ...] = optional(list_of(enum(*_METHODS)), ())
    allow_headers: tuple[str, ...] = optional(list_of(line), ())
    expose_headers: tuple[str, ...] = optional(list_of(line), ())
    max_age_s: float | None = optional(_max_age)
    allow_credentials: bool | None = optional(boolean)
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = optional(
        enum("UNSPECIFIED", "FORWARD", "IGNORE"), "UNSPECIFIED"
    )

    def check(self) -> Iterator[tuple[str, str]]:
        for key in ("allow_headers", "expose_headers"):
            for index, name in enumerate(getattr(self, key)):
                if name != "*" and not HEADER_NAME.fullmatch(name):
                    camel = "allowHeaders" if key == "allow_headers" else "exposeHeaders"
                    yield f"{camel}[{index}]", f"{name!r} is not a header name"
        for index, origin in enumerate(self.allow_origins):
            if origin.exact == "":
                yield f"allowOrigins[{index}]", "must not be empty"
