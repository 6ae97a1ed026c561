"""A certificate request that is refused: a status for the caller, a reason for log and counter."""

from __future__ import annotations

import logging
import math
from typing import NoReturn

import grpc

from controlplane.ca.limits import Limit, RateLimit
from controlplane.ca.metrics import CaMetrics
from controlplane.rpc.context import Context

log = logging.getLogger("weft.controlplane.ca")

# gRPC proposal A6: clients with a retry policy wait as long as this trailer says.
PUSHBACK = "grpc-retry-pushback-ms"

_LINES = Limit(rate=5.0, burst=50)


class RefusedError(Exception):
    """Ends a call. kind: the counter's label. retry_after_s 0: trying again is of no use."""

    def __init__(
        self, code: grpc.StatusCode, kind: str, reason: str, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.kind = kind
        self.retry_after_s = retry_after_s


def slow_down(what: str, wait_s: float) -> RefusedError:
    """The limit of `what` is reached; the wait is rounded up to whole milliseconds."""
    reason = f"too many certificate requests {what}: try again in {math.ceil(wait_s)} s"
    return RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited", reason, wait_s)


class RefusalDesk:
    """Logs, counts, and ends the call. The log takes so many lines from each source and counts on
    the counter for the rest, as a client that fails in a loop would fill the disk."""

    def __init__(self, metrics: CaMetrics) -> None:
        self._metrics = metrics
        self._lines = RateLimit(_LINES)

    async def refuse(
        self, context: Context, error: RefusedError, source: str, now: float
    ) -> NoReturn:
        """`now` in monotonic seconds."""
        unauthenticated = error.code is grpc.StatusCode.UNAUTHENTICATED
        self._metrics.refused(error.kind, unauthenticated=unauthenticated)
        if not self._lines.wait_s(source, now):
            self._lines.count(source, now)
            log.warning(
                "refused certificate peer=%s code=%s reason=%s: %s",
                context.peer(),
                error.code.name,
                error.kind,
                error,
            )
        wait_ms = math.ceil(error.retry_after_s * 1000)
        await context.abort(error.code, str(error), ((PUSHBACK, str(wait_ms)),) if wait_ms else ())
