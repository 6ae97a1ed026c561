"""A service that is asked for a decision, as Envoy's ext_authz filter: for HTTP and for TCP.

It is asked when a rule of the provider's CUSTOM policies applies: the RBAC filter in front finds
that out in the shadow and leaves the rule's name in its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as http_pb2
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from google.protobuf.duration_pb2 import Duration

from controlplane.emit import names
from controlplane.emit.words import seconds
from controlplane.mesh.policy import Authorizer

SHADOW_PREFIX = "istio_ext_authz_"
EVERY_HEADER = ("*",)
_OF_THE_ANSWER = (
    "host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|date|server"
    "|x-envoy-.*"
)
"""Headers that speak of an answer itself, and would say something else of a request."""
_EFFECTIVE = "shadow_effective_policy_id"


def rule_prefix(provider: str) -> str:
    """Stands before the names of the rules that ask this provider."""
    return f"istio-ext-authz-{provider}-"


def http(authorizer: Authorizer, rbac_filter: str) -> http_pb2.ExtAuthz:
    """Where the RBAC filter says so."""
    config = always(authorizer)
    config.filter_enabled_metadata.CopyFrom(_enabled(rbac_filter, authorizer.name))
    return config


def always(authorizer: Authorizer) -> http_pb2.ExtAuthz:
    """About every request."""
    config = http_pb2.ExtAuthz(
        failure_mode_allow=authorizer.fail_open,
        transport_api_version=ApiVersion.V3,
        clear_route_cache=authorizer.clear_route_cache,
    )
    if authorizer.status_on_error is not None:
        code = StatusCode.Name(StatusCode.ValueType(authorizer.status_on_error))
        config.status_on_error.CopyFrom(HttpStatus(code=code))
    if (body := authorizer.body) is not None:
        config.with_request_body.max_request_bytes = body.max_bytes
        config.with_request_body.allow_partial_message = body.partial
        config.with_request_body.pack_as_bytes = body.as_bytes
    if authorizer.protocol == "grpc":
        config.grpc_service.CopyFrom(_grpc(authorizer))
        if authorizer.request_headers:
            config.allowed_headers.CopyFrom(_patterns(authorizer.request_headers))
    else:
        _ask_over_http(config, authorizer)
    return config


def network(authorizer: Authorizer, rbac_filter: str, stat_prefix: str) -> NetworkExtAuthz:
    """Only for one that speaks gRPC."""
    return NetworkExtAuthz(
        stat_prefix=stat_prefix,
        failure_mode_allow=authorizer.fail_open,
        transport_api_version=ApiVersion.V3,
        filter_enabled_metadata=_enabled(rbac_filter, authorizer.name),
        grpc_service=_grpc(authorizer),
    )


def _enabled(rbac_filter: str, provider: str) -> MetadataMatcher:
    begins = StringMatcher(prefix=rule_prefix(provider).removesuffix("-"))
    return MetadataMatcher(
        filter=rbac_filter,
        path=[MetadataMatcher.PathSegment(key=SHADOW_PREFIX + _EFFECTIVE)],
        value=ValueMatcher(string_match=begins),
    )


def _cluster(authorizer: Authorizer) -> str:
    return names.outbound_cluster(authorizer.host, authorizer.port)


def _grpc(authorizer: Authorizer) -> GrpcService:
    envoy = GrpcService.EnvoyGrpc(cluster_name=_cluster(authorizer), authority=authorizer.host)
    return GrpcService(envoy_grpc=envoy, timeout=_timeout(authorizer))


def _timeout(authorizer: Authorizer) -> Duration:
    return seconds(authorizer.timeout_s)


# --------------------------------------------------------------------------- over HTTP


def _ask_over_http(config: http_pb2.ExtAuthz, authorizer: Authorizer) -> None:
    service = config.http_service
    service.path_prefix = authorizer.path_prefix
    service.server_uri.CopyFrom(
        HttpUri(
            uri=f"http://{authorizer.host}",
            cluster=_cluster(authorizer),
            timeout=_timeout(authorizer),
        )
    )
    if authorizer.request_headers:
        config.allowed_headers.CopyFrom(_patterns(authorizer.request_headers))
    for name, value in sorted(authorizer.additional_headers.items()):
        header = HeaderValue(key=name, value=value)
        service.authorization_request.headers_to_add.append(header)
    answer = service.authorization_response
    if authorizer.upstream_headers == EVERY_HEADER:
        answer.allowed_upstream_headers.patterns.add().safe_regex.regex = ".*"
        rules = config.decoder_header_mutation_rules
        rules.disallow_expression.regex = _OF_THE_ANSWER
    elif authorizer.upstream_headers:
        answer.allowed_upstream_headers.CopyFrom(_patterns(authorizer.upstream_headers))
    if authorizer.denied_headers:
        answer.allowed_client_headers.CopyFrom(_patterns(authorizer.denied_headers))
    if authorizer.allowed_headers:
        answer.allowed_client_headers_on_success.CopyFrom(_patterns(authorizer.allowed_headers))


def _patterns(headers: Iterable[str]) -> ListStringMatcher:
    return ListStringMatcher(patterns=[_pattern(header) for header in headers])


def _pattern(header: str) -> StringMatcher:
    if header.startswith("*"):
        return StringMatcher(suffix=header[1:], ignore_case=True)
    if header.endswith("*"):
        return StringMatcher(prefix=header[:-1], ignore_case=True)
    return StringMatcher(exact=header, ignore_case=True)
