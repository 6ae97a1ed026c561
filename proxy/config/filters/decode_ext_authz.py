"""Decodes `envoy.filters.http.ext_authz`, with what routes say to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.type.matcher.v3 import string_pb2

from proxy.config.decode_common import PREFIX, headers_to_add, parse, percent, regex, value_or
from proxy.config.decode_matchers import string_matcher
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.decode_services import HTTP_FAILURES, grpc_service, http_uri, repeats
from proxy.config.model.ext_authz import (
    BodySettings,
    ExtAuthzConfig,
    ExtAuthzPerRoute,
    HttpAuthz,
    Matchers,
    MutationRules,
    Service,
)
from proxy.config.rejected import Rejected
from proxy.http.inquiry import NEVER

TYPE_URL = PREFIX + ext_authz_pb2.ExtAuthz.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + ext_authz_pb2.ExtAuthzPerRoute.DESCRIPTOR.full_name
V2 = 1
FORBIDDEN = 403


def decode(value: bytes, path: str) -> ExtAuthzConfig:
    message = parse(ext_authz_pb2.ExtAuthz, value, path)
    kind = message.WhichOneof("services")
    if kind is None:
        raise Rejected(path, "needs a service: `grpc_service` or `http_service`")
    if kind == "grpc_service" and message.transport_api_version == V2:
        raise Rejected(f"{path}.transport_api_version", "version 2 is no longer in use")
    return ExtAuthzConfig(
        service=_service(message, path),
        failure_mode_allow=message.failure_mode_allow,
        failure_mode_allow_header=message.failure_mode_allow_header_add,
        body=_body(message),
        clear_route_cache=message.clear_route_cache,
        status_on_error=message.status_on_error.code or FORBIDDEN,
        validate_mutations=message.validate_mutations,
        metadata_namespaces=tuple(message.metadata_context_namespaces),
        route_metadata_namespaces=tuple(message.route_metadata_context_namespaces),
        share=percent(
            message.filter_enabled.default_value,
            f"{path}.filter_enabled.default_value",
            message.filter_enabled.runtime_key,
        )
        if message.HasField("filter_enabled")
        else None,
        where=metadata_matcher(message.filter_enabled_metadata, f"{path}.filter_enabled_metadata")
        if message.HasField("filter_enabled_metadata")
        else None,
        deny_at_disable=value_or(message.deny_at_disable, "default_value", False),
        deny_key=message.deny_at_disable.runtime_key,
        peer_certificate=message.include_peer_certificate,
        tls_session=message.include_tls_session,
        stat_prefix=message.stat_prefix,
        allowed_headers=_matchers(message, "allowed_headers", path),
        disallowed_headers=_matchers(message, "disallowed_headers", path),
        charges_cluster=value_or(message, "charge_cluster_response_stats", True),
        raw_headers=message.encode_raw_headers,
        ingests_metadata=value_or(message, "enable_dynamic_metadata_ingestion", True),
        max_denied_body_bytes=message.max_denied_response_body_bytes,
        mutation_rules=_rules(
            message.decoder_header_mutation_rules, f"{path}.decoder_header_mutation_rules"
        )
        if message.HasField("decoder_header_mutation_rules")
        else None,
    )


def decode_per_route(value: bytes, path: str) -> ExtAuthzPerRoute:
    message = parse(ext_authz_pb2.ExtAuthzPerRoute, value, path)
    if message.WhichOneof("override") == "disabled":
        return ExtAuthzPerRoute(disabled=message.disabled)
    settings, where = message.check_settings, f"{path}.check_settings"
    body = _body(settings)
    if body is not None and settings.disable_request_body_buffering:
        raise Rejected(where, "disable_request_body_buffering and with_request_body are both set")
    return ExtAuthzPerRoute(
        extensions=dict(settings.context_extensions),
        body_off=settings.disable_request_body_buffering,
        body=body,
        service=_service(settings, where)
        if settings.WhichOneof("service_override") is not None
        else None,
    )


def _rules(message: mutation_rules_pb2.HeaderMutationRules, path: str) -> MutationRules:
    allow, disallow = message.allow_expression.regex, message.disallow_expression.regex
    return MutationRules(
        message.allow_all_routing.value,
        message.allow_envoy.value,
        message.disallow_system.value,
        message.disallow_all.value,
        regex(allow, f"{path}.allow_expression") if allow else "",
        regex(disallow, f"{path}.disallow_expression") if disallow else "",
        message.disallow_is_error.value,
    )


def _service(message: ext_authz_pb2.ExtAuthz | ext_authz_pb2.CheckSettings, path: str) -> Service:
    if message.HasField("grpc_service"):
        return grpc_service(message.grpc_service, f"{path}.grpc_service")
    return _http(message.http_service, f"{path}.http_service")


def _body(message: ext_authz_pb2.ExtAuthz | ext_authz_pb2.CheckSettings) -> BodySettings | None:
    if not message.HasField("with_request_body"):
        return None
    body = message.with_request_body
    return BodySettings(body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes)


def _http(message: ext_authz_pb2.HttpService, path: str) -> HttpAuthz:
    if message.path_prefix and not message.path_prefix.startswith("/"):
        raise Rejected(f"{path}.path_prefix", "must begin with a slash")
    asked, answered = message.authorization_request, message.authorization_response
    where, there = f"{path}.authorization_request", f"{path}.authorization_response"
    return HttpAuthz(
        uri=http_uri(message.server_uri, f"{path}.server_uri"),
        path_prefix=message.path_prefix,
        asked=_matchers(asked, "allowed_headers", where),
        headers_to_add=headers_to_add(
            [_option(each) for each in asked.headers_to_add], f"{where}.headers_to_add"
        ),
        upstream=_matchers(answered, "allowed_upstream_headers", there),
        upstream_appended=_matchers(answered, "allowed_upstream_headers_to_append", there),
        client=_matchers(answered, "allowed_client_headers", there),
        client_on_success=_matchers(answered, "allowed_client_headers_on_success", there),
        metadata=_matchers(answered, "dynamic_metadata_from_headers", there),
        repeats=repeats(message.retry_policy, f"{path}.retry_policy", HTTP_FAILURES)
        if message.HasField("retry_policy")
        else NEVER,
    )


def _option(header: base_pb2.HeaderValue) -> base_pb2.HeaderValueOption:
    option = base_pb2.HeaderValueOption(header=header)
    option.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return option


def _matchers(message: Any, field: str, path: str) -> Matchers:
    if not message.HasField(field):
        return None
    patterns: Iterable[string_pb2.StringMatcher] = getattr(message, field).patterns
    where = f"{path}.{field}.patterns"
    return tuple(string_matcher(each, f"{where}[{i}]") for i, each in enumerate(patterns))
