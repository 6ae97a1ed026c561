"""Decodes a `RouteConfiguration` and its virtual hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from envoy.config.route.v3 import route_components_pb2, route_pb2

from proxy.config.decode_common import choice, header_edits, value_or
from proxy.config.decode_matchers import header_matchers
from proxy.config.decode_mirror import mirror_policies
from proxy.config.decode_old_cors import with_cors
from proxy.config.decode_rate_limits import rate_limits_of_route
from proxy.config.decode_retry import hedges, retry_policy
from proxy.config.decode_route import request_buffer_limit, route
from proxy.config.decode_route_tree import route_tree
from proxy.config.decode_source import source
from proxy.config.fields import UNSUPPORTED
from proxy.config.filters.decode_per_route import filter_configs
from proxy.config.model import RouteConfiguration, VirtualCluster, VirtualHost
from proxy.config.rejected import Rejected, at

RequireTls = Literal["NONE", "EXTERNAL_ONLY", "ALL"]
_REQUIRE_TLS: Mapping[int, RequireTls] = {0: "NONE", 1: "EXTERNAL_ONLY", 2: "ALL"}
_MAX_DIRECT_BODY_BYTES = 4096
"""Envoy's default of `max_direct_response_body_size_bytes`."""
MAX_FETCHED_BODY_BYTES = 1024 * 1024


def route_configuration(
    message: route_pb2.RouteConfiguration, path: str = ""
) -> RouteConfiguration:
    """`message` must be checked. Domains must be unique among all its virtual hosts."""
    where = at(path, "virtual_hosts")
    max_body = value_or(message, "max_direct_response_body_size_bytes", _MAX_DIRECT_BODY_BYTES)
    _unique_domains(message.virtual_hosts, lambda i: f"{where}[{i}]")
    return RouteConfiguration(
        name=message.name,
        virtual_hosts=tuple(
            _virtual_host(each, f"{where}[{i}]", max_body)
            for i, each in enumerate(message.virtual_hosts)
        ),
        edits=header_edits(message, path),
        internal_only_headers=tuple(name.lower() for name in message.internal_only_headers),
        most_specific_header_mutations_wins=message.most_specific_header_mutations_wins,
        ignore_port_in_host_matching=message.ignore_port_in_host_matching,
        validate_clusters=value_or(message, "validate_clusters", None),
        ignore_path_parameters=message.ignore_path_parameters_in_path_matching,
        vhost_header=message.vhost_header.lower(),
        mirrors=mirror_policies(
            message.request_mirror_policies, at(path, "request_mirror_policies")
        ),
        filter_configs=filter_configs(
            message.typed_per_filter_config, at(path, "typed_per_filter_config")
        ),
        fetches_hosts=_fetches_hosts(message, at(path, "vhds")),
        max_body_bytes=max_body,
    )


def fetched_host(message: route_components_pb2.VirtualHost) -> VirtualHost:
    """A virtual host by itself (VHDS). `message` must be checked. How long bodies may be is the
    word of its table: the store looks at that."""
    _unique_domains((message,), lambda _: "")
    return _virtual_host(message, "", MAX_FETCHED_BODY_BYTES)


def _fetches_hosts(message: route_pb2.RouteConfiguration, path: str) -> bool:
    if not message.HasField("vhds"):
        return False
    if source(message.vhds.config_source, f"{path}.config_source"):
        raise Rejected(f"{path}.config_source", f"a file is {UNSUPPORTED}; use ads")
    return True


def _unique_domains(
    hosts: Iterable[route_components_pb2.VirtualHost], path: Callable[[int], str]
) -> None:
    """Envoy's rule; domains are compared without regard to case. path: of the host of a number."""
    seen: dict[str, str] = {}
    for i, host in enumerate(hosts):
        for j, given in enumerate(host.domains):
            where, domain = at(path(i), f"domains[{j}]"), given.lower()
            if "*" in domain[1:-1] or (len(domain) > 1 and domain[0] == domain[-1] == "*"):
                raise Rejected(where, f"`{given}`: a `*` may only stand at one end")
            if domain in seen:
                raise Rejected(where, f"`{given}` is a domain of virtual host {seen[domain]} too")
            seen[domain] = host.name


def _virtual_host(
    message: route_components_pb2.VirtualHost, path: str, max_body_bytes: int
) -> VirtualHost:
    retry = message.retry_policy if message.HasField("retry_policy") else None
    if message.HasField("matcher") and message.routes:
        raise Rejected(path, "matcher and routes are both set")
    return VirtualHost(
        name=message.name,
        domains=tuple(message.domains),
        routes=tuple(
            route(each, at(path, f"routes[{i}]"), max_body_bytes)
            for i, each in enumerate(message.routes)
        ),
        matcher=route_tree(
            message.matcher,
            at(path, "matcher"),
            lambda each, where: route(each, where, max_body_bytes),
        )
        if message.HasField("matcher")
        else None,
        edits=header_edits(message, path),
        retry=retry_policy(retry, at(path, "retry_policy")) if retry else None,
        hedge_on_per_try_timeout=hedges(message),
        include_request_attempt_count=message.include_request_attempt_count,
        include_attempt_count_in_response=message.include_attempt_count_in_response,
        include_is_timeout_retry_header=message.include_is_timeout_retry_header,
        require_tls=choice(_REQUIRE_TLS, message.require_tls, at(path, "require_tls")),
        mirrors=mirror_policies(
            message.request_mirror_policies, at(path, "request_mirror_policies")
        ),
        virtual_clusters=tuple(
            _virtual_cluster(each, at(path, f"virtual_clusters[{i}]"))
            for i, each in enumerate(message.virtual_clusters)
        ),
        request_buffer_limit_bytes=request_buffer_limit(message),
        filter_configs=with_cors(
            filter_configs(message.typed_per_filter_config, at(path, "typed_per_filter_config")),
            message.cors if message.HasField("cors") else None,
            at(path, "cors"),
        ),
        rate_limits=rate_limits_of_route(message.rate_limits, at(path, "rate_limits")),
    )


def _virtual_cluster(message: route_components_pb2.VirtualCluster, path: str) -> VirtualCluster:
    if not message.headers:
        raise Rejected(f"{path}.headers", "needs at least one header")
    return VirtualCluster(message.name, header_matchers(message.headers, f"{path}.headers"))
