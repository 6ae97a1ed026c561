"""What bounds connections to a service and throws out bad endpoints (ConnectionPoolSettings,
OutlierDetection)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import (
    boolean,
    duration,
    enum,
    integer,
    list_of,
    number,
    positive_duration,
)
from controlplane.kinds.schema import Record, notes, obj, optional, record

COUNT = integer(0, 2**31 - 1)
_U32 = integer(0, 2**32 - 1)
_PERCENT = integer(0, 100)


@record
class TcpKeepalive(Record):
    probes: int | None = optional(_U32)
    time_s: float | None = optional(positive_duration)
    interval_s: float | None = optional(positive_duration)


@record
class TcpSettings(Record):
    """idle_timeout_s 0: none."""

    max_connections: int | None = optional(COUNT)
    connect_timeout_s: float | None = optional(positive_duration)
    idle_timeout_s: float | None = optional(duration)
    max_connection_duration_s: float | None = optional(positive_duration)
    tcp_keepalive: TcpKeepalive | None = optional(obj(TcpKeepalive))


@record
class Http2KeepAlive(Record):
    interval_s: float | None = optional(positive_duration)
    timeout_s: float | None = optional(positive_duration)


@record
class HttpSettings(Record):
    max_pending_requests: int | None = optional(COUNT, key="http1MaxPendingRequests")
    max_requests: int | None = optional(COUNT, key="http2MaxRequests")
    max_requests_per_connection: int | None = optional(COUNT)
    max_retries: int | None = optional(COUNT)
    idle_timeout_s: float | None = optional(positive_duration)
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = optional(
        enum("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), "DEFAULT"
    )
    use_client_protocol: bool = optional(boolean, False)
    max_concurrent_streams: int | None = optional(COUNT)
    http2_keep_alive: Http2KeepAlive | None = optional(obj(Http2KeepAlive))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.use_client_protocol and self.h2_upgrade_policy == "UPGRADE":
            yield "useClientProtocol", "and h2UpgradePolicy UPGRADE exclude each other"


@record
class ConnectionPool(Record):
    tcp: TcpSettings = optional(obj(TcpSettings), TcpSettings())
    http: HttpSettings = optional(obj(HttpSettings), HttpSettings())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.where:
            yield "", "needs tcp or http"


@record
class OutlierDetection(Record):
    NOTED = notes(
        consecutiveErrors="has no effect; use consecutive5xxErrors or consecutiveGatewayErrors"
    )
    consecutive_5xx: int | None = optional(COUNT, key="consecutive5xxErrors")
    consecutive_gateway_errors: int | None = optional(COUNT)
    consecutive_local_origin_failures: int | None = optional(COUNT)
    split_external_local_origin_errors: bool = optional(boolean, False)
    interval_s: float | None = optional(positive_duration)
    base_ejection_time_s: float | None = optional(positive_duration)
    max_ejection_percent: int | None = optional(_PERCENT)
    min_health_percent: int | None = optional(_PERCENT)
    http_error_codes: tuple[int, ...] = optional(
        list_of(integer(100, 599)), (), key="outlierDetectionHttpErrorCodes"
    )

    def check(self) -> Iterator[tuple[str, str]]:
        if self.consecutive_local_origin_failures and not self.split_external_local_origin_errors:
            yield "consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors: true"


@record
class RetryBudget(Record):
    """percent of the requests that are under way; at least min_retry_concurrency retries."""

    NOTED = notes(
        budgetInterval="has no effect: a budget is of the requests that are under way, at any time"
    )
    percent: float | None = optional(number(0, 100))
    min_retry_concurrency: int | None = optional(_U32)
