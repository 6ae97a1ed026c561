"""The proxy's own model of Envoy's configuration: frozen, typed, already validated.

`decode_*` makes these from protobuf and is the last to see it; `compile` turns them into runtime
objects. Names and meaning are Envoy v3's; durations are seconds (`_s`), sizes bytes (`_bytes`),
`None` means "not set" where Envoy tells unset from zero. Equality is by content: `compile` keeps
what did not change. What Weft does not support never gets here: it was refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# --------------------------------------------------------------------------- shared


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """`core.v3.Address`: an IP and port, or a Unix socket (`path`, then host is '' and port 0)."""

    host: str
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CidrRange:
    address: str
    prefix_len: int


@dataclass(frozen=True, slots=True)
class StringMatcher:
    """`type.matcher.v3.StringMatcher`. A regex is RE2 and must match the whole string."""

    kind: Literal["exact", "prefix", "suffix", "contains", "regex"]
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMatcher:
    """`route.v3.HeaderMatcher`: exactly one of string, range (start <= v < end), present."""

    name: str
    string: StringMatcher | None = None
    range: tuple[int, int] | None = None
    present: bool | None = None
    invert: bool = False
    treat_missing_as_empty: bool = False


@dataclass(frozen=True, slots=True)
class QueryParameterMatcher:
    name: str
    string: StringMatcher | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True)
class FractionalPercent:
    """`numerator` of `denominator` (100, 10_000 or 1_000_000); `runtime_key` may override it."""

    numerator: int
    denominator: int = 100
    runtime_key: str = ""


AppendAction = Literal[
    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
]


@dataclass(frozen=True, slots=True)
class HeaderValueOption:
    """`value` is an Envoy format string (`%DOWNSTREAM_REMOTE_ADDRESS%` ...)."""

    name: str
    value: str
    action: AppendAction = "APPEND_IF_EXISTS_OR_ADD"
    keep_empty_value: bool = False


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """`*_headers_to_add` and `*_headers_to_remove` of one level (route, virtual host ...)."""

    request_add: tuple[HeaderValueOption, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_add: tuple[HeaderValueOption, ...] = ()
    response_remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(
            self.request_add or self.request_remove or self.response_add or self.response_remove
        )


Metadata = Mapping[str, Mapping[str, Any]]
"""`core.v3.Metadata.filter_metadata` as plain data: {filter name: {key: value}}."""

# --------------------------------------------------------------------------- TLS


@dataclass(frozen=True, slots=True)
class DataSource:
    """Bytes that were inline or read from a file when decoded. `origin` is for messages only."""

    data: bytes = field(repr=False)
    origin: str = "inline"


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    chain: DataSource
    private_key: DataSource = field(repr=False)
    password: DataSource | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SanMatcher:
    """`SubjectAltNameMatcher`: san_type is URI, DNS, EMAIL or IP_ADDRESS."""

    san_type: Literal["URI", "DNS", "EMAIL", "IP_ADDRESS"]
    matcher: StringMatcher


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """`CertificateValidationContext`. `trusted_ca` None: the peer's chain is not verified."""

    trusted_ca: DataSource | None = None
    match_sans: tuple[SanMatcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """An SDS resource: exactly one of the two is set."""

    name: str
    certificate: TlsCertificate | None = None
    validation: ValidationContext | None = None


@dataclass(frozen=True, slots=True)
class SdsRef:
    """`SdsSecretConfig`: a secret by name, from ADS or (static=True) from `static_resources`."""

    name: str
    static: bool = False


@dataclass(frozen=True, slots=True)
class CommonTls:
    """`CommonTlsContext`. `validation` is the inline or the combined default context; with
    `validation_sds` the secret's trusted_ca and SANs are merged over it (Envoy's rule)."""

    certificates: tuple[TlsCertificate, ...] = ()
    certificate_sds: SdsRef | None = None
    validation: ValidationContext | None = None
    validation_sds: SdsRef | None = None
    alpn: tuple[str, ...] = ()
    min_version: Literal["TLSv1_2", "TLSv1_3"] = "TLSv1_2"
    max_version: Literal["TLSv1_2", "TLSv1_3"] = "TLSv1_3"
    ciphers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    common: CommonTls
    require_client_certificate: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    common: CommonTls
    sni: str = ""


# --------------------------------------------------------------------------- routes


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


# --------------------------------------------------------------------------- clusters


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Circuit breakers of one priority, with Envoy's defaults. max_retries as a count."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    budget_percent: float | None = None
    budget_min_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """`cluster.v3.OutlierDetection`, the consecutive-error part, with Envoy's defaults."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_local_origin_failure: int = 100


HealthStatus = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: SocketAddress
    health: HealthStatus = "UNKNOWN"
    weight: int = 1
    hostname: str = ""
    metadata: Metadata = field(default_factory=dict, compare=True, hash=False)


@dataclass(frozen=True, slots=True)
class LocalityEndpoints:
    """`LocalityLbEndpoints`: locality is (region, zone, sub_zone)."""

    locality: tuple[str, str, str]
    endpoints: tuple[Endpoint, ...]
    weight: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ClusterLoadAssignment:
    cluster_name: str
    localities: tuple[LocalityEndpoints, ...] = ()
    overprovisioning_factor: int = 140


@dataclass(frozen=True, slots=True)
class HttpProtocolOptions:
    """`HttpProtocolOptions` of a cluster and `common_http_protocol_options`."""

    idle_timeout_s: float | None = 3600.0
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int | None = None
    max_response_headers_kb: int = 60
    max_headers_count: int = 100


@dataclass(frozen=True, slots=True)
class TransportSocketMatch:
    """One of a cluster's `transport_socket_matches`: the first whose `match` is a subset of the
    endpoint's `envoy.transport_socket_match` metadata decides; tls None is `raw_buffer`."""

    name: str
    match: Mapping[str, Any] = field(hash=False)
    tls: UpstreamTls | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    name: str
    type: Literal["STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS"] = "STATIC"
    eds_service_name: str = ""
    load_assignment: ClusterLoadAssignment | None = None
    lb_policy: Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"] = "ROUND_ROBIN"
    least_request_choice_count: int = 2
    healthy_panic_threshold: float = 50.0
    connect_timeout_s: float = 5.0
    thresholds_default: Thresholds = Thresholds()
    thresholds_high: Thresholds = Thresholds()
    outlier: OutlierDetection | None = None
    tls: UpstreamTls | None = None
    tls_matches: tuple[TransportSocketMatch, ...] = ()
    http: HttpProtocolOptions = HttpProtocolOptions()
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    dns_refresh_rate_s: float = 5.0
    respect_dns_ttl: bool = False
    dns_lookup_family: Literal["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"] = "AUTO"
    alt_stat_name: str = ""
    close_connections_on_host_health_failure: bool = False
    metadata: Metadata = field(default_factory=dict, hash=False)
    ignore_health_on_host_removal: bool = False


# --------------------------------------------------------------------------- listeners


@dataclass(frozen=True, slots=True)
class AccessLog:
    """`FileAccessLog` or stdout. `format` is a text format string, or a JSON object of them."""

    path: str
    text_format: str | None = None
    json_format: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class HttpFilter:
    """A filter by type URL; `config` is the decoded, frozen config of that filter's own module."""

    name: str
    type_url: str
    config: object
    disabled: bool = False


XfccMode = Literal[
    "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]


@dataclass(frozen=True, slots=True)
class HttpConnectionManager:
    """`HttpConnectionManager`. Exactly one of rds_name and route_config is set.

    Timeouts: None is "not set" and Envoy's default, 0 turns the timeout off.
    """

    stat_prefix: str
    rds_name: str = ""
    route_config: RouteConfiguration | None = None
    filters: tuple[HttpFilter, ...] = ()
    access_log: tuple[AccessLog, ...] = ()
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    server_name: str = "envoy"
    server_header: Literal["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"] = "OVERWRITE"
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    forward_client_cert: XfccMode = "SANITIZE"
    client_cert_details: frozenset[Literal["subject", "cert", "chain", "dns", "uri"]] = frozenset()
    normalize_path: bool = False
    merge_slashes: bool = False
    escaped_slashes: Literal[
        "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"
    ] = "KEEP_UNCHANGED"
    strip_matching_host_port: bool = False
    strip_any_host_port: bool = False
    accept_http_10: bool = False
    default_host_for_http_10: str = ""
    idle_timeout_s: float | None = 3600.0
    max_connection_duration_s: float | None = None
    max_requests_per_connection: int | None = None
    max_headers_count: int = 100
    max_request_headers_kb: int = 60
    stream_idle_timeout_s: float = 300.0
    request_timeout_s: float = 0.0
    request_headers_timeout_s: float = 0.0
    drain_timeout_s: float = 5.0
    delayed_close_timeout_s: float = 1.0
    via: str = ""
    suppress_envoy_headers: bool = False


@dataclass(frozen=True, slots=True)
class TcpProxy:
    """`TcpProxy`. One of cluster and weighted (name, weight) is set. idle_timeout_s: 0 is none."""

    stat_prefix: str
    cluster: str = ""
    weighted: tuple[tuple[str, int], ...] = ()
    idle_timeout_s: float = 3600.0
    access_log: tuple[AccessLog, ...] = ()
    max_connect_attempts: int = 1


@dataclass(frozen=True, slots=True)
class FilterChainMatch:
    """`FilterChainMatch`; empty fields match everything. Precedence is Envoy's, in `listen`."""

    destination_port: int | None = None
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterChain:
    """Exactly one of http and tcp is set: the chain's last network filter."""

    match: FilterChainMatch
    http: HttpConnectionManager | None = None
    tls: DownstreamTls | None = None
    name: str = ""
    transport_socket_connect_timeout_s: float | None = None
    tcp: TcpProxy | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    address: SocketAddress
    filter_chains: tuple[FilterChain, ...] = ()
    default_filter_chain: FilterChain | None = None
    tls_inspector: bool = False
    http_inspector: bool = False
    original_dst: bool = False
    use_original_dst: bool = False
    bind_to_port: bool = True
    listener_filters_timeout_s: float = 15.0
    continue_on_listener_filters_timeout: bool = False
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    tcp_backlog_size: int = 128
    traffic_direction: Literal["UNSPECIFIED", "INBOUND", "OUTBOUND"] = "UNSPECIFIED"
    stat_prefix: str = ""
    access_log: tuple[AccessLog, ...] = ()


# --------------------------------------------------------------------------- bootstrap


@dataclass(frozen=True, slots=True)
class Node:
    id: str = ""
    cluster: str = ""
    locality: tuple[str, str, str] = ("", "", "")
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdsConfig:
    """`dynamic_resources.ads_config`: delta or state-of-the-world, through a static cluster.

    initial_metadata: gRPC metadata of the stream, e.g. ('authorization', 'Bearer ...')."""

    cluster: str
    delta: bool
    initial_metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    set_node_on_first_message_only: bool = False
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    node: Node = Node()
    admin: SocketAddress | None = None
    ads: AdsConfig | None = None
    lds_ads: bool = False
    cds_ads: bool = False
    listeners: tuple[Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    secrets: tuple[Secret, ...] = ()
