"""Decodes what a route does with a request that it forwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import choice, optional_seconds
from proxy.config.decode_hash_policy import hash_policies
from proxy.config.decode_internal_redirect import internal_redirect
from proxy.config.decode_mirror import mirror_policies
from proxy.config.decode_rate_limits import rate_limits_of_route
from proxy.config.decode_retry import hedges, retry_policy
from proxy.config.decode_rewrite import one_rewrite, path_template_rewrite, regex_rewrite
from proxy.config.decode_upgrades import max_stream_duration, upgrade_configs
from proxy.config.decode_weighted import metadata_match, weighted_clusters
from proxy.config.model import RouteAction

_Priority = Literal["DEFAULT", "HIGH"]
_PRIORITIES: Mapping[int, _Priority] = {0: "DEFAULT", 1: "HIGH"}
_NOT_FOUND_STATUS = {0: 503, 1: 404, 2: 500}


def route_action(message: route_components_pb2.RouteAction, path: str) -> RouteAction:
    """`message` must be checked."""
    # Longer than functions are here: one line per field, and cutting it would hide one.
    target = message.WhichOneof("cluster_specifier")
    host = message.WhichOneof("host_rewrite_specifier")
    weighted = message.weighted_clusters
    retry = message.retry_policy if message.HasField("retry_policy") else None
    one_rewrite(message, path)
    return RouteAction(
        cluster=message.cluster if target == "cluster" else None,
        cluster_header=message.cluster_header.lower() if target == "cluster_header" else None,
        weighted=weighted_clusters(weighted, f"{path}.weighted_clusters")
        if target == "weighted_clusters"
        else (),
        weighted_header=weighted.header_name.lower(),
        weighted_runtime_prefix=weighted.runtime_key_prefix,
        weighted_by_hash=weighted.use_hash_policy.value,
        cluster_not_found_status=choice(
            _NOT_FOUND_STATUS,
            message.cluster_not_found_response_code,
            f"{path}.cluster_not_found_response_code",
        ),
        metadata_match=metadata_match(message.metadata_match),
        timeout_s=optional_seconds(message, "timeout"),
        idle_timeout_s=optional_seconds(message, "idle_timeout"),
        max_stream_duration=max_stream_duration(message),
        max_grpc_timeout_s=optional_seconds(message, "max_grpc_timeout"),
        grpc_timeout_offset_s=optional_seconds(message, "grpc_timeout_offset"),
        prefix_rewrite=message.prefix_rewrite or None,
        regex_rewrite=regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite")
        if message.HasField("regex_rewrite")
        else None,
        path_template_rewrite=path_template_rewrite(message, path),
        host_rewrite=message.host_rewrite_literal if host == "host_rewrite_literal" else None,
        auto_host_rewrite=host == "auto_host_rewrite" and message.auto_host_rewrite.value,
        host_rewrite_header=message.host_rewrite_header.lower()
        if host == "host_rewrite_header"
        else None,
        host_rewrite_path_regex=regex_rewrite(
            message.host_rewrite_path_regex, f"{path}.host_rewrite_path_regex"
        )
        if host == "host_rewrite_path_regex"
        else None,
        append_x_forwarded_host=message.append_x_forwarded_host,
        retry=retry_policy(retry, f"{path}.retry_policy") if retry else None,
        hedge_on_per_try_timeout=hedges(message),
        priority=choice(_PRIORITIES, message.priority, f"{path}.priority"),
        hash_policies=hash_policies(message.hash_policy, f"{path}.hash_policy"),
        mirrors=mirror_policies(message.request_mirror_policies, f"{path}.request_mirror_policies"),
        internal_redirect=internal_redirect(message, path),
        upgrades=upgrade_configs(message.upgrade_configs, f"{path}.upgrade_configs"),
        rate_limits=rate_limits_of_route(message.rate_limits, f"{path}.rate_limits"),
        include_vh_rate_limits=message.include_vh_rate_limits.value,
    )
