"""Route configurations (`config.route.v3`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from proxy.config.model.common import (
    FractionalPercent,
    HeaderEdits,
    HeaderMatcher,
    Metadata,
    QueryParameterMatcher,
)


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Exactly one of prefix, path, regex, path_separated_prefix, connect is set."""

    prefix: str | None = None
    path: str | None = None
    regex: str | None = None
    path_separated_prefix: str | None = None
    case_sensitive: bool = True
    headers: tuple[HeaderMatcher, ...] = ()
    query_parameters: tuple[QueryParameterMatcher, ...] = ()
    runtime_fraction: FractionalPercent | None = None
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class RetryBackOff:
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`route.v3.RetryPolicy`. retry_on holds Envoy's words, each checked when decoded."""

    retry_on: frozenset[str]
    num_retries: int = 1
    per_try_timeout_s: float | None = None
    retriable_status_codes: frozenset[int] = frozenset()
    retriable_headers: tuple[HeaderMatcher, ...] = ()
    back_off: RetryBackOff = RetryBackOff()
    previous_hosts: bool = False
    host_selection_retry_max_attempts: int = 1


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    name: str
    weight: int
    edits: HeaderEdits = HeaderEdits()
    host_rewrite: str | None = None


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    pattern: str
    substitution: str


@dataclass(frozen=True, slots=True)
class RouteAction:
    """`route.v3.RouteAction`. One of cluster, cluster_header, weighted is set.

    timeout_s: None is Envoy's default (15), 0 is no timeout.
    """

    cluster: str | None = None
    cluster_header: str | None = None
    weighted: tuple[WeightedCluster, ...] = ()
    cluster_not_found_status: int = 503
    timeout_s: float | None = None
    idle_timeout_s: float | None = None
    prefix_rewrite: str | None = None
    regex_rewrite: RegexRewrite | None = None
    host_rewrite: str | None = None
    auto_host_rewrite: bool = False
    host_rewrite_header: str | None = None
    append_x_forwarded_host: bool = False
    retry: RetryPolicy | None = None
    priority: Literal["DEFAULT", "HIGH"] = "DEFAULT"


@dataclass(frozen=True, slots=True)
class RedirectAction:
    https: bool = False
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix_rewrite: str | None = None
    regex_rewrite: RegexRewrite | None = None
    status: int = 301
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    match: RouteMatch
    action: RouteAction | RedirectAction | DirectResponse
    name: str = ""
    edits: HeaderEdits = HeaderEdits()
    metadata: Metadata = field(default_factory=dict)
    stat_prefix: str = ""


@dataclass(frozen=True, slots=True)
class VirtualHost:
    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    edits: HeaderEdits = HeaderEdits()
    retry: RetryPolicy | None = None
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    require_tls: Literal["NONE", "EXTERNAL_ONLY", "ALL"] = "NONE"


@dataclass(frozen=True, slots=True)
class RouteConfiguration:
    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    edits: HeaderEdits = HeaderEdits()
    internal_only_headers: tuple[str, ...] = ()
    most_specific_header_mutations_wins: bool = False
    ignore_port_in_host_matching: bool = False
    validate_clusters: bool | None = None
