"""Envoy's tag extraction: `cluster.web.upstream_rq_503` is the metric `cluster.upstream_rq` with
the tags cluster_name=web and response_code=503.

Envoy takes a cluster's name up to the first dot, so a name with dots falls apart there. We know
the words that follow a name and split before the first of them; Envoy's rule is the last resort.
"""

from __future__ import annotations

import re
from functools import lru_cache

Tags = tuple[tuple[str, str], ...]

# What the gRPC filters count, so that `grpc` inside of a cluster's name stays there.
_GRPC = r"grpc\.(?=.*(?<=\.)(?:\d+|success|failure|total|re\w+_message_count|upstream_rq_time)$)"
_CLUSTER_WORDS = (
    "assignment_|bind_errors|canary\\.|circuit_breakers\\.|client_ssl|default\\.|external\\."
    "|health_check\\.|http1\\.|http2\\.|internal\\.|lb_|max_host_weight|membership_|original_dst_"
    f"|{_GRPC}"
    "|outlier_detection\\.|retry_or_shadow|ssl\\.|tls_|update_|upstream_|version|warming_|zone\\."
)
_HTTP_WORDS = "downstream_|no_cluster|no_route|passthrough_|rds\\.|rq_|tracing\\.|rbac\\."
_LISTENER_WORDS = (
    "connections_accepted|downstream_|extension_config|global_|http\\.|no_filter|ssl\\.|worker_"
)

_RESPONSE_CODE = re.compile(r"_rq(_(\d{3}))$")
_RESPONSE_CODE_CLASS = re.compile(r"_rq_((\d))xx$")
_RULES = (
    ("response_code", _RESPONSE_CODE),
    ("response_code_class", _RESPONSE_CODE_CLASS),
    ("ssl_cipher", re.compile(r"^(?:listener|cluster)\..*\.ssl\.ciphers(\.(.+))$")),
    ("ssl_version", re.compile(r"^(?:listener|cluster)\..*\.ssl\.versions(\.(.+))$")),
    ("rds_route_config", re.compile(r"^http\..*?\.rds\.((.+)\.)\w+$")),
    ("grpc_bridge_method", re.compile(rf"^cluster\..+?\.{_GRPC}[^.]+\.(([^.]+)\.)")),
    ("grpc_bridge_service", re.compile(rf"^cluster\..+?\.{_GRPC}(([^.]+)\.)")),
    ("local_http_ratelimit_prefix", re.compile(r"^(([^.]+)\.)http_local_rate_limit\.")),
    ("cluster_name", re.compile(rf"^cluster\.((.+?)\.)(?={_CLUSTER_WORDS})")),
    ("cluster_name", re.compile(r"^cluster\.(([^.]+)\.)")),
    ("http_conn_manager_prefix", re.compile(rf"^http\.((.+?)\.)(?={_HTTP_WORDS})")),
    ("http_conn_manager_prefix", re.compile(r"^http\.(([^.]+)\.)")),
    ("http_conn_manager_prefix", re.compile(r"^listener\..*?\.http\.(([^.]+)\.)")),
    ("tcp_prefix", re.compile(r"^tcp\.((.+)\.)\w+$")),
    ("listener_address", re.compile(rf"^listener\.((.+?)\.)(?={_LISTENER_WORDS})")),
    ("virtual_host", re.compile(r"^vhost\.((.+?)\.)(?=vcluster\.|retry|upstream_)")),
)


@lru_cache(maxsize=16384)
def extract(name: str) -> tuple[str, Tags]:
    """(the name without its tags, the tags) of a statistic."""
    found: dict[str, str] = {}
    for tag, pattern in _RULES:
        if tag in found:
            continue
        match = pattern.search(name)
        if match is not None:
            found[tag] = match[2]
            start, end = match.span(1)
            name = name[:start] + name[end:]
    return name, tuple(found.items())
