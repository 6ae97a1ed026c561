"""Listeners, filter chains and connection managers (`config.listener.v3`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from protos.frozen import frozen
from proxy.config.model.common import CidrRange, HeaderValueOption, SocketAddress
from proxy.config.model.connecting import OriginalSrc, ProxyProtocolIn, SocketOption
from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.config.model.grpc_logs import GrpcLog, OtelLog
from proxy.config.model.istio import IstioStats
from proxy.config.model.local_reply import LocalReplyConfig
from proxy.config.model.log_filter import AccessLogFilter
from proxy.config.model.protocol import Http1Options, Http2Options
from proxy.config.model.rbac import NetworkRbac
from proxy.config.model.routes import RouteConfiguration
from proxy.config.model.tls import DownstreamTls
from proxy.config.model.tracing import ManagerTracing


@frozen
class AccessLog:
    """`FileAccessLog` or stdout, or a log over gRPC. The format is a text format string, or a JSON
    object of them.

    omits_empty: what is missing is left out, not '-' or null. wants: the streams that are logged,
    None for all."""

    path: str
    text_format: str | None = None
    json_format: Mapping[str, Any] | None = None
    omits_empty: bool = False
    wants: AccessLogFilter | None = None
    grpc: GrpcLog | OtelLog | None = None


@frozen
class HttpFilter:
    """A filter by type URL; `config` is the decoded, frozen config of that filter's own module."""

    name: str
    type_url: str
    config: object
    disabled: bool = False


@frozen
class ManagerUpgrade:
    """`HttpConnectionManager.UpgradeConfig`. upgrade_type: in lower case. filters: () are those of
    the manager."""

    upgrade_type: str
    enabled: bool = True
    filters: tuple[HttpFilter, ...] = ()


XfccMode = Literal[
    "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]


@frozen
class HttpConnectionManager:
    """`HttpConnectionManager`. Exactly one of rds_name and route_config is set. rds_path: of the
    file that has the routes, '' for ADS. packs_trace_reason: request ids say why there is a trace.

    Timeouts: None is "not set" and Envoy's default, 0 turns the timeout off.
    """

    stat_prefix: str
    rds_name: str = ""
    rds_path: str = ""
    route_config: RouteConfiguration | None = None
    filters: tuple[HttpFilter, ...] = ()
    access_log: tuple[AccessLog, ...] = ()
    logs_new_requests: bool = False
    log_interval_s: float | None = None
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
    codec: Literal["AUTO", "HTTP1", "HTTP2"] = "AUTO"
    http2: Http2Options = Http2Options()
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
    strict_check_headers: tuple[str, ...] = ()
    respect_expected_rq_timeout: bool = False
    local_reply: LocalReplyConfig | None = None
    upgrades: tuple[ManagerUpgrade, ...] = ()
    proxy_100_continue: bool = False
    strip_trailing_host_dot: bool = False
    scheme_to_overwrite: str = ""
    append_x_forwarded_port: bool = False
    internal_addresses: tuple[CidrRange, ...] = ()
    max_stream_duration_s: float = 0.0
    stream_error: bool = False
    underscores: Literal["ALLOW", "REJECT_REQUEST", "DROP_HEADER"] = "ALLOW"
    http1: Http1Options = Http1Options()
    tracing: ManagerTracing | None = None
    packs_trace_reason: bool = True


@frozen
class Tunneling:
    """`TunnelingConfig`: bytes go by CONNECT, or by POST to a path. hostname: a format string."""

    hostname: str
    use_post: bool = False
    post_path: str = "/"
    headers: tuple[HeaderValueOption, ...] = ()
    propagate_response_headers: bool = False
    propagate_response_trailers: bool = False


@frozen
class TcpProxy:
    """`TcpProxy`. One of cluster and weighted (name, weight) is set. idle_timeout_s: 0 is none.
    max_duration_s: 0 is none; up to jitter_percent more, by chance. by_source_ip: for balancers
    that hash. on_demand_s: how long a connection waits for a cluster that is fetched."""

    stat_prefix: str
    cluster: str = ""
    weighted: tuple[tuple[str, int], ...] = ()
    idle_timeout_s: float = 3600.0
    access_log: tuple[AccessLog, ...] = ()
    max_connect_attempts: int = 1
    tunneling: Tunneling | None = None
    max_duration_s: float = 0.0
    jitter_percent: float = 0.0
    by_source_ip: bool = False
    on_demand_s: float | None = None


@frozen
class FilterChainMatch:
    """`FilterChainMatch`; empty fields match everything. Precedence is Envoy's, in `listen`."""

    destination_port: int | None = None
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()


@frozen
class Explanations:
    """What the control plane says of those who want tokens. tells: the client hears which one
    refused its. tokens: by the provider's name in jwt_authn, which policy that is and where it
    stands."""

    tells: bool = False
    tokens: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)


NO_EXPLANATIONS = Explanations()


@frozen
class FilterChain:
    """Exactly one of http and tcp is set: the chain's last network filter. guards: those before
    it, which may turn a connection away. counted: Istio's metrics of its connections."""

    match: FilterChainMatch
    http: HttpConnectionManager | None = None
    tls: DownstreamTls | None = None
    name: str = ""
    transport_socket_connect_timeout_s: float | None = None
    tcp: TcpProxy | None = None
    guards: tuple[NetworkRbac | NetworkExtAuthz, ...] = ()
    explanations: Explanations = NO_EXPLANATIONS
    counted: IstioStats | None = None


PortRanges = tuple[tuple[int, int], ...]
"""Ports from the first number to before the second, sorted, apart from each other."""


@frozen
class Listener:
    """not_for_tls, not_for_http: destination ports of connections into which the inspector does not
    look. transparent: connections keep their destination as the socket's own address (TPROXY).
    asks: there may be listeners that serve some of its connections better, and that are asked for
    by name; asks_within: only connections to these addresses, if any are said.
    additional_addresses: where it listens, too."""

    name: str
    address: SocketAddress
    filter_chains: tuple[FilterChain, ...] = ()
    default_filter_chain: FilterChain | None = None
    tls_inspector: bool = False
    ja3: bool = False
    ja4: bool = False
    http_inspector: bool = False
    not_for_tls: PortRanges = ()
    not_for_http: PortRanges = ()
    transparent: bool = False
    original_dst: bool = False
    original_src: OriginalSrc | None = None
    use_original_dst: bool = False
    bind_to_port: bool = True
    listener_filters_timeout_s: float = 15.0
    continue_on_listener_filters_timeout: bool = False
    per_connection_buffer_limit_bytes: int = 1024 * 1024
    tcp_backlog_size: int = 128
    traffic_direction: Literal["UNSPECIFIED", "INBOUND", "OUTBOUND"] = "UNSPECIFIED"
    stat_prefix: str = ""
    access_log: tuple[AccessLog, ...] = ()
    proxy_protocol: ProxyProtocolIn | None = None
    socket_options: tuple[SocketOption, ...] = ()
    asks: bool = False
    asks_within: tuple[CidrRange, ...] = ()
    additional_addresses: tuple[SocketAddress, ...] = ()

    @property
    def addresses(self) -> tuple[SocketAddress, ...]:
        return (self.address, *self.additional_addresses)
