"""Decodes a `RouteConfiguration`: virtual hosts, routes and their matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from envoy.config.route.v3 import route_components_pb2, route_pb2

from proxy.config.decode_common import choice, header_edits, metadata, percent, regex, value_or
from proxy.config.decode_matchers import header_matchers, query_matchers
from proxy.config.decode_retry import retry_policy
from proxy.config.decode_route_action import Action, direct_response, redirect, route_action
from proxy.config.model import (
    FractionalPercent,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from proxy.config.rejected import Rejected, at

RequireTls = Literal["NONE", "EXTERNAL_ONLY", "ALL"]
_REQUIRE_TLS: Mapping[int, RequireTls] = {0: "NONE", 1: "EXTERNAL_ONLY", 2: "ALL"}
_MAX_DIRECT_BODY_BYTES = 4096
"""Envoy's default of `max_direct_response_body_size_bytes`."""


def route_configuration(
    message: route_pb2.RouteConfiguration, path: str = ""
) -> RouteConfiguration:
    """`message` must be checked. Domains must be unique among all its virtual hosts."""
    where = at(path, "virtual_hosts")
    max_body = value_or(message, "max_direct_response_body_size_bytes", _MAX_DIRECT_BODY_BYTES)
    _unique_domains(message, where)
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
    )


def _unique_domains(message: route_pb2.RouteConfiguration, path: str) -> None:
    """Envoy's rule; domains are compared without regard to case."""
    seen: dict[str, str] = {}
    for i, host in enumerate(message.virtual_hosts):
        for j, given in enumerate(host.domains):
            where, domain = f"{path}[{i}].domains[{j}]", given.lower()
            if "*" in domain[1:-1] or (len(domain) > 1 and domain[0] == domain[-1] == "*"):
                raise Rejected(where, f"`{given}`: a `*` may only stand at one end")
            if domain in seen:
                raise Rejected(where, f"`{given}` is a domain of virtual host {seen[domain]} too")
            seen[domain] = host.name


def _virtual_host(
    message: route_components_pb2.VirtualHost, path: str, max_body_bytes: int
) -> VirtualHost:
    retry = message.retry_policy if message.HasField("retry_policy") else None
    return VirtualHost(
        name=message.name,
        domains=tuple(message.domains),
        routes=tuple(
            _route(each, f"{path}.routes[{i}]", max_body_bytes)
            for i, each in enumerate(message.routes)
        ),
        edits=header_edits(message, path),
        retry=retry_policy(retry, f"{path}.retry_policy") if retry else None,
        include_request_attempt_count=message.include_request_attempt_count,
        include_attempt_count_in_response=message.include_attempt_count_in_response,
        require_tls=choice(_REQUIRE_TLS, message.require_tls, f"{path}.require_tls"),
    )


def _route(message: route_components_pb2.Route, path: str, max_body_bytes: int) -> Route:
    return Route(
        match=_match(message.match, f"{path}.match"),
        action=_action(message, path, max_body_bytes),
        name=message.name,
        edits=header_edits(message, path),
        metadata=metadata(message.metadata),
        stat_prefix=message.stat_prefix,
    )


def _action(message: route_components_pb2.Route, path: str, max_body_bytes: int) -> Action:
    kind = message.WhichOneof("action")
    if kind == "route":
        return route_action(message.route, f"{path}.route")
    if kind == "redirect":
        return redirect(message.redirect, f"{path}.redirect")
    return direct_response(message.direct_response, f"{path}.direct_response", max_body_bytes)


def _match(message: route_components_pb2.RouteMatch, path: str) -> RouteMatch:
    kind = message.WhichOneof("path_specifier")
    return RouteMatch(
        prefix=message.prefix if kind == "prefix" else None,
        path=message.path if kind == "path" else None,
        regex=regex(message.safe_regex.regex, f"{path}.safe_regex")
        if kind == "safe_regex"
        else None,
        path_separated_prefix=message.path_separated_prefix
        if kind == "path_separated_prefix"
        else None,
        case_sensitive=value_or(message, "case_sensitive", True),
        headers=header_matchers(message.headers, f"{path}.headers"),
        query_parameters=query_matchers(message.query_parameters, f"{path}.query_parameters"),
        runtime_fraction=_runtime_fraction(message, f"{path}.runtime_fraction"),
        grpc=message.HasField("grpc"),
    )


def _runtime_fraction(
    message: route_components_pb2.RouteMatch, path: str
) -> FractionalPercent | None:
    if not message.HasField("runtime_fraction"):
        return None
    fraction = message.runtime_fraction
    return percent(fraction.default_value, f"{path}.default_value", fraction.runtime_key)
