"""Decodes what a route does: forward to a cluster, redirect, or answer directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2

from proxy.config.decode_common import (
    choice,
    data_source,
    header_edits,
    optional_seconds,
    regex,
)
from proxy.config.decode_retry import retry_policy
from proxy.config.model import (
    DirectResponse,
    RedirectAction,
    RegexRewrite,
    RouteAction,
    WeightedCluster,
)
from proxy.config.rejected import Rejected

Action = RouteAction | RedirectAction | DirectResponse
_Priority = Literal["DEFAULT", "HIGH"]
_PRIORITIES: Mapping[int, _Priority] = {0: "DEFAULT", 1: "HIGH"}
_NOT_FOUND_STATUS = {0: 503, 1: 404, 2: 500}
_REDIRECT_STATUS = {0: 301, 1: 302, 2: 303, 3: 307, 4: 308}


def route_action(message: route_components_pb2.RouteAction, path: str) -> RouteAction:
    """`message` must be checked."""
    target = message.WhichOneof("cluster_specifier")
    host = message.WhichOneof("host_rewrite_specifier")
    if message.prefix_rewrite and message.HasField("regex_rewrite"):
        raise Rejected(path, "prefix_rewrite and regex_rewrite are both set")
    retry = message.retry_policy if message.HasField("retry_policy") else None
    return RouteAction(
        cluster=message.cluster if target == "cluster" else None,
        cluster_header=message.cluster_header.lower() if target == "cluster_header" else None,
        weighted=_weighted(message, f"{path}.weighted_clusters"),
        cluster_not_found_status=choice(
            _NOT_FOUND_STATUS,
            message.cluster_not_found_response_code,
            f"{path}.cluster_not_found_response_code",
        ),
        timeout_s=optional_seconds(message, "timeout"),
        idle_timeout_s=optional_seconds(message, "idle_timeout"),
        prefix_rewrite=message.prefix_rewrite or None,
        regex_rewrite=_regex_rewrite(message, path),
        host_rewrite=message.host_rewrite_literal if host == "host_rewrite_literal" else None,
        auto_host_rewrite=host == "auto_host_rewrite" and message.auto_host_rewrite.value,
        host_rewrite_header=message.host_rewrite_header.lower()
        if host == "host_rewrite_header"
        else None,
        append_x_forwarded_host=message.append_x_forwarded_host,
        retry=retry_policy(retry, f"{path}.retry_policy") if retry else None,
        priority=choice(_PRIORITIES, message.priority, f"{path}.priority"),
    )


def _weighted(message: route_components_pb2.RouteAction, path: str) -> tuple[WeightedCluster, ...]:
    if not message.HasField("weighted_clusters"):
        return ()
    clusters = message.weighted_clusters.clusters
    if not sum(each.weight.value for each in clusters):
        raise Rejected(f"{path}.clusters", "the sum of the weights must be greater than 0")
    if sum(each.weight.value for each in clusters) > 0xFFFFFFFF:
        raise Rejected(f"{path}.clusters", "the sum of the weights is above 4294967295")
    return tuple(
        _weighted_cluster(each, f"{path}.clusters[{i}]") for i, each in enumerate(clusters)
    )


def _weighted_cluster(
    message: route_components_pb2.WeightedCluster.ClusterWeight, path: str
) -> WeightedCluster:
    if not message.name:
        raise Rejected(f"{path}.name", "is required")
    if not message.HasField("weight"):
        raise Rejected(f"{path}.weight", "is required")
    return WeightedCluster(
        name=message.name,
        weight=message.weight.value,
        edits=header_edits(message, path),
        host_rewrite=message.host_rewrite_literal or None,
    )


def _regex_rewrite(
    message: route_components_pb2.RouteAction | route_components_pb2.RedirectAction, path: str
) -> RegexRewrite | None:
    if not message.HasField("regex_rewrite"):
        return None
    rewrite: regex_pb2.RegexMatchAndSubstitute = message.regex_rewrite
    pattern = regex(rewrite.pattern.regex, f"{path}.regex_rewrite.pattern")
    return RegexRewrite(pattern, rewrite.substitution)


def redirect(message: route_components_pb2.RedirectAction, path: str) -> RedirectAction:
    """`message` must be checked."""
    scheme = message.WhichOneof("scheme_rewrite_specifier")
    rewrite = message.WhichOneof("path_rewrite_specifier")
    return RedirectAction(
        https=scheme == "https_redirect" and message.https_redirect,
        scheme=message.scheme_redirect if scheme == "scheme_redirect" else None,
        host=message.host_redirect or None,
        port=message.port_redirect or None,
        path=message.path_redirect if rewrite == "path_redirect" else None,
        prefix_rewrite=message.prefix_rewrite if rewrite == "prefix_rewrite" else None,
        regex_rewrite=_regex_rewrite(message, path),
        status=choice(_REDIRECT_STATUS, message.response_code, f"{path}.response_code"),
        strip_query=message.strip_query,
    )


def direct_response(
    message: route_components_pb2.DirectResponseAction, path: str, max_body_bytes: int
) -> DirectResponse:
    """`message` must be checked; a body above `max_body_bytes` is refused."""
    if not message.HasField("body"):
        return DirectResponse(message.status)
    body = data_source(message.body, f"{path}.body").data
    if len(body) > max_body_bytes:
        why = f"has {len(body)} bytes; max_direct_response_body_size_bytes is {max_body_bytes}"
        raise Rejected(f"{path}.body", why)
    return DirectResponse(message.status, body)
