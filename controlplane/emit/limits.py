"""What bounds a cluster and throws out its bad endpoints: a TrafficPolicy's pool and outlier
detection in Envoy's words."""

from __future__ import annotations

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as EnvoyOutlier
from envoy.config.common.matcher.v3.matcher_pb2 import MatchPredicate
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
)
from envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2 import (
    PreserveCaseFormatterConfig,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as upstream_http
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit import names
from controlplane.emit.words import packed, seconds
from controlplane.mesh.model import (
    ConnectionPool,
    OutlierDetection,
    Protocol,
    RetryBudget,
    TcpKeepalive,
)

CONNECT_TIMEOUT_S = 10.0
UNLIMITED = 2**32 - 1
RETRY_BUDGET = RetryBudget(20.0, 10)
"""Where neither maxRetries nor a retryBudget is set; Envoy's own would be 3 retries."""

_AnyOf = MatchPredicate.MatchSet
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bound(cluster: Cluster, pool: ConnectionPool) -> None:
    """Connections and requests, none of them limited where nothing is set (Istio's default)."""
    timeout_s = pool.connect_timeout_s
    cluster.connect_timeout.CopyFrom(seconds(CONNECT_TIMEOUT_S if timeout_s is None else timeout_s))
    cluster.circuit_breakers.thresholds.append(_thresholds(pool))
    if pool.keepalive is not None:
        _keep_alive(cluster, pool.keepalive)


def _thresholds(pool: ConnectionPool) -> CircuitBreakers.Thresholds:
    def limit(value: int | None) -> UInt32Value:
        return UInt32Value(value=UNLIMITED if value is None else value)

    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit(pool.max_connections),
        max_pending_requests=limit(pool.max_pending_requests),
        max_requests=limit(pool.max_requests),
    )
    if pool.max_retries is not None and pool.retry_budget is None:
        thresholds.max_retries.CopyFrom(limit(pool.max_retries))
        return thresholds
    budget = pool.retry_budget or RETRY_BUDGET
    if budget.percent is not None:
        thresholds.retry_budget.budget_percent.CopyFrom(Percent(value=budget.percent))
    if budget.min_retries is not None:
        minimum = UInt32Value(value=budget.min_retries)
        thresholds.retry_budget.min_retry_concurrency.CopyFrom(minimum)
    thresholds.retry_budget.SetInParent()
    return thresholds


def _keep_alive(cluster: Cluster, settings: TcpKeepalive) -> None:
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.SetInParent()
    if settings.probes is not None:
        keepalive.keepalive_probes.value = settings.probes
    if settings.time_s is not None:
        keepalive.keepalive_time.value = max(1, round(settings.time_s))
    if settings.interval_s is not None:
        keepalive.keepalive_interval.value = max(1, round(settings.interval_s))


def outlier(settings: OutlierDetection) -> EnvoyOutlier:
    """A count of 0 turns its detector off; unset is Envoy's default. Success-rate detection,
    which nobody asked for, is off (as in Istio)."""
    message = EnvoyOutlier(enforcing_success_rate=UInt32Value(value=0))
    if settings.consecutive_5xx is not None:
        message.consecutive_5xx.value = settings.consecutive_5xx
        message.enforcing_consecutive_5xx.value = 100 if settings.consecutive_5xx else 0
    if settings.consecutive_gateway_errors is not None:
        count = settings.consecutive_gateway_errors
        message.consecutive_gateway_failure.value = count
        message.enforcing_consecutive_gateway_failure.value = 100 if count else 0
    if settings.interval_s is not None:
        message.interval.CopyFrom(seconds(settings.interval_s))
    if settings.base_ejection_time_s is not None:
        message.base_ejection_time.CopyFrom(seconds(settings.base_ejection_time_s))
    # Of fewer than ten hosts, Istio's default of 10 % would be none at all.
    message.always_eject_one_host.value = True
    if settings.max_ejection_percent is not None:
        message.max_ejection_percent.value = settings.max_ejection_percent
    if settings.split_local_origin:
        _split(message, settings.consecutive_local_origin_failures)
    return message


def _split(message: EnvoyOutlier, failures: int | None) -> None:
    """Failures of one's own side (no connection, a timeout) are counted for themselves."""
    message.split_external_local_origin_errors = True
    message.enforcing_local_origin_success_rate.value = 0
    if failures is not None:
        message.consecutive_local_origin_failure.value = failures
        message.enforcing_consecutive_local_origin_failure.value = 100 if failures else 0


# --------------------------------------------------------------------------- HTTP


def http_options(
    cluster: Cluster,
    pool: ConnectionPool,
    protocol: Protocol,
    keeps_case: bool = False,
    errors: tuple[int, ...] = (),
) -> None:
    """HttpProtocolOptions, only where something differs from the default. A port that is declared
    so is spoken to in HTTP/2 from the first byte. keeps_case: of headers, in HTTP/1. errors:
    statuses that outlier detection counts, where they are not the 5xx."""
    http2 = protocol in names.HTTP2 or (pool.http2 is True and protocol == "HTTP")
    common = _common(pool)
    keeps_case = keeps_case and not http2 and protocol in names.HTTP
    errors = errors if protocol in names.HTTP else ()
    if not any((http2, pool.as_client, common.ByteSize(), keeps_case, errors)):
        return
    options = upstream_http.HttpProtocolOptions()
    if errors:
        options.outlier_detection.error_matcher.CopyFrom(_statuses(errors))
    if common.ByteSize():
        options.common_http_protocol_options.CopyFrom(common)
    if pool.as_client and protocol == "HTTP":
        as_client = options.use_downstream_protocol_config
        as_client.http_protocol_options.CopyFrom(_http1(keeps_case))
        as_client.http2_protocol_options.CopyFrom(_http2(pool))
    elif http2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(_http2(pool))
    else:
        options.explicit_http_config.http_protocol_options.CopyFrom(_http1(keeps_case))
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))


def _common(pool: ConnectionPool) -> HttpProtocolOptions:
    common = HttpProtocolOptions()
    if pool.idle_timeout_s is not None:
        common.idle_timeout.CopyFrom(seconds(pool.idle_timeout_s))
    if pool.max_requests_per_connection:
        common.max_requests_per_connection.value = pool.max_requests_per_connection
    if pool.max_connection_duration_s is not None:
        common.max_connection_duration.CopyFrom(seconds(pool.max_connection_duration_s))
    return common


def _statuses(codes: tuple[int, ...]) -> MatchPredicate:
    """Answers with one of them."""
    found = [MatchPredicate() for _ in codes]
    for one, code in zip(found, codes, strict=True):
        header = one.http_response_headers_match.headers.add(name=":status")
        header.string_match.exact = str(code)
    return found[0] if len(found) == 1 else MatchPredicate(or_match=_AnyOf(rules=found))


def _http1(keeps_case: bool) -> Http1ProtocolOptions:
    options = Http1ProtocolOptions()
    if keeps_case:
        formatter = options.header_key_format.stateful_formatter
        formatter.name = "preserve_case"
        formatter.typed_config.CopyFrom(packed(PreserveCaseFormatterConfig()))
    return options


def _http2(pool: ConnectionPool) -> Http2ProtocolOptions:
    options = Http2ProtocolOptions()
    if pool.max_concurrent_streams:
        options.max_concurrent_streams.value = pool.max_concurrent_streams
    if pool.ping_interval_s is not None:
        options.connection_keepalive.interval.CopyFrom(seconds(pool.ping_interval_s))
        timeout_s = PING_TIMEOUT_S if pool.ping_timeout_s is None else pool.ping_timeout_s
        options.connection_keepalive.timeout.CopyFrom(seconds(timeout_s))
    return options


PING_TIMEOUT_S = 20.0
"""Where http2KeepAlive names none; Envoy must have one."""
