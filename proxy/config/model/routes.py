"""Route configurations (`config.route.v3`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from protos.frozen import frozen
from proxy.config.model.common import (
    BodyFormat,
    FilterStateMatcher,
    FractionalPercent,
    HeaderEdits,
    HeaderMatcher,
    HeaderValueOption,
    Metadata,
    QueryParameterMatcher,
    StringMatcher,
)
from proxy.config.model.metadata import MetadataMatcher
from proxy.config.model.rate_limits import RateLimit
from proxy.config.model.retry import RetryPolicy
from proxy.config.model.tracing import Decorator, RouteTracing


@frozen
class RouteMatch:
    """Exactly one of prefix, path, regex, path_separated_prefix, uri_template, connect is set.
    tls_presented, tls_validated: what the client's certificate must be, None if it does not
    matter."""

    prefix: str | None = None
    path: str | None = None
    regex: str | None = None
    path_separated_prefix: str | None = None
    case_sensitive: bool = True
    headers: tuple[HeaderMatcher, ...] = ()
    query_parameters: tuple[QueryParameterMatcher, ...] = ()
    runtime_fraction: FractionalPercent | None = None
    grpc: bool = False
    uri_template: str | None = None
    connect: bool = False
    tls_presented: bool | None = None
    tls_validated: bool | None = None
    dynamic_metadata: tuple[MetadataMatcher, ...] = ()
    filter_state: tuple[FilterStateMatcher, ...] = ()


@frozen
class WeightedCluster:
    """One of name and cluster_header is set. metadata_match: of `envoy.lb`."""

    name: str
    weight: int
    edits: HeaderEdits = HeaderEdits()
    host_rewrite: str | None = None
    cluster_header: str | None = None
    metadata_match: Mapping[str, Any] = field(default_factory=dict)
    filter_configs: Mapping[str, object] = field(default_factory=dict)


@frozen
class RegexRewrite:
    pattern: str
    substitution: str


@frozen
class HashPolicy:
    """`RouteAction.HashPolicy`. name: of the header, cookie, query parameter or filter state.
    regex_rewrite: of a header. ttl_s: of a cookie that is made when it is missing; None: none is.
    """

    kind: Literal["header", "cookie", "source_ip", "query_parameter", "filter_state"]
    name: str = ""
    terminal: bool = False
    regex_rewrite: RegexRewrite | None = None
    ttl_s: int | None = None
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@frozen
class MirrorPolicy:
    """`RouteAction.RequestMirrorPolicy`. One of cluster and cluster_header is set.
    mutations: in order, an option to add or the name of a header to remove."""

    cluster: str = ""
    cluster_header: str = ""
    fraction: FractionalPercent | None = None
    keeps_host: bool = False
    host_rewrite: str = ""
    mutations: tuple[HeaderValueOption | str, ...] = ()


@frozen
class InternalRedirectPolicy:
    """`InternalRedirectPolicy`. allowed_routes: None is no such predicate."""

    max_internal_redirects: int = 1
    response_codes: frozenset[int] = frozenset((302,))
    allow_cross_scheme: bool = False
    headers_to_copy: tuple[str, ...] = ()
    not_previous_routes: bool = False
    safe_cross_scheme: bool = False
    allowed_routes: frozenset[str] | None = None


@frozen
class ConnectConfig:
    """`UpgradeConfig.ConnectConfig`: CONNECT ends here, its bytes go on as plain TCP.
    proxy_protocol: the version of the header to begin with, None for none."""

    allow_post: bool = False
    proxy_protocol: Literal["V1", "V2"] | None = None


@frozen
class UpgradeConfig:
    """upgrade_type: in lower case (`websocket`, `connect`)."""

    upgrade_type: str
    enabled: bool = True
    connect: ConnectConfig | None = None


@frozen
class MaxStreamDuration:
    """`RouteAction.MaxStreamDuration`. None is not set, 0 takes no limit (of the header)."""

    max_stream_duration_s: float | None = None
    grpc_timeout_header_max_s: float | None = None
    grpc_timeout_header_offset_s: float | None = None


@frozen
class VirtualCluster:
    """`VirtualCluster`: statistics of the requests whose headers match."""

    name: str
    headers: tuple[HeaderMatcher, ...]


@frozen
class RouteAction:
    """`route.v3.RouteAction`. One of cluster, cluster_header, weighted is set.

    timeout_s: None is Envoy's default (15), 0 is no timeout. max_grpc_timeout_s and
    grpc_timeout_offset_s are the old spelling of max_stream_duration's. weighted_header: whose
    number stands for the random one. metadata_match: of `envoy.lb`.
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
    hedge_on_per_try_timeout: bool | None = None
    retry: RetryPolicy | None = None
    priority: Literal["DEFAULT", "HIGH"] = "DEFAULT"
    path_template_rewrite: str | None = None
    host_rewrite_path_regex: RegexRewrite | None = None
    weighted_header: str = ""
    weighted_runtime_prefix: str = ""
    weighted_by_hash: bool = False
    metadata_match: Mapping[str, Any] = field(default_factory=dict)
    hash_policies: tuple[HashPolicy, ...] = ()
    mirrors: tuple[MirrorPolicy, ...] = ()
    internal_redirect: InternalRedirectPolicy | None = None
    upgrades: tuple[UpgradeConfig, ...] = ()
    max_stream_duration: MaxStreamDuration | None = None
    max_grpc_timeout_s: float | None = None
    grpc_timeout_offset_s: float | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    include_vh_rate_limits: bool = False


@frozen
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


@frozen
class DirectResponse:
    status: int
    body: bytes = b""
    body_format: BodyFormat | None = None


@frozen
class NonForwardingAction:
    """`NonForwardingAction`: a route of a server that answers itself; a proxy can't forward it."""


@frozen
class Route:
    """request_buffer_limit_bytes: of what is kept for retries and mirrors, None: the default."""

    match: RouteMatch
    action: RouteAction | RedirectAction | DirectResponse | NonForwardingAction
    name: str = ""
    edits: HeaderEdits = HeaderEdits()
    metadata: Metadata = field(default_factory=dict)
    stat_prefix: str = ""
    request_buffer_limit_bytes: int | None = None
    filter_configs: Mapping[str, object] = field(default_factory=dict)
    tracing: RouteTracing | None = None
    decorator: Decorator | None = None


@frozen
class HeaderPredicate:
    """A header's value and what it must be, or what `inner` ones together say."""

    kind: Literal["single", "not", "and", "or"]
    header: str = ""
    string: StringMatcher | None = None
    inner: tuple[HeaderPredicate, ...] = ()


@frozen
class RouteTree:
    """`VirtualHost.matcher`: lists of routes by the value of `header`, or by the first of `rules`
    that holds. by_prefix: the longest key that the value begins with."""

    header: str = ""
    branches: Mapping[str, tuple[Route, ...]] = field(default_factory=dict)
    by_prefix: bool = False
    rules: tuple[tuple[HeaderPredicate, tuple[Route, ...]], ...] = ()
    otherwise: tuple[Route, ...] = ()


@frozen
class VirtualHost:
    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    edits: HeaderEdits = HeaderEdits()
    retry: RetryPolicy | None = None
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    require_tls: Literal["NONE", "EXTERNAL_ONLY", "ALL"] = "NONE"
    mirrors: tuple[MirrorPolicy, ...] = ()
    virtual_clusters: tuple[VirtualCluster, ...] = ()
    matcher: RouteTree | None = None
    include_is_timeout_retry_header: bool = False
    hedge_on_per_try_timeout: bool | None = None
    request_buffer_limit_bytes: int | None = None
    filter_configs: Mapping[str, object] = field(default_factory=dict)
    rate_limits: tuple[RateLimit, ...] = ()


@frozen
class RouteConfiguration:
    """fetches_hosts: virtual hosts that it does not have come by name (`vhds`, over ADS).
    max_body_bytes: of its direct responses."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    edits: HeaderEdits = HeaderEdits()
    internal_only_headers: tuple[str, ...] = ()
    most_specific_header_mutations_wins: bool = False
    ignore_port_in_host_matching: bool = False
    validate_clusters: bool | None = None
    ignore_path_parameters: bool = False
    vhost_header: str = ""
    mirrors: tuple[MirrorPolicy, ...] = ()
    filter_configs: Mapping[str, object] = field(default_factory=dict)
    fetches_hosts: bool = False
    max_body_bytes: int = 4096
