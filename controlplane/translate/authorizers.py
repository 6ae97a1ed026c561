"""The MeshConfig's ext_authz providers -> the services that CUSTOM policies ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from controlplane.kinds.mesh_config import ExtAuthz, ExtAuthzHttp, ExtensionProvider
from controlplane.mesh.model import Service
from controlplane.mesh.policy import Authorizer, BodyLimit
from controlplane.translate.telemetry_providers import host_of

DEFAULT_TIMEOUT_S = 600.0
"""Istio's, a placeholder: the service's own DestinationRule is meant to limit it."""


def authorizers(
    providers: Iterable[ExtensionProvider], services: Iterable[Service]
) -> Iterator[Authorizer]:
    """Those of other things than access (tracing, logs) are left out."""
    known = {service.hostname: service for service in services}
    for provider in providers:
        if (http := provider.envoy_ext_authz_http) is not None:
            yield _over_http(_made(provider.name, http, known), http)
        elif (grpc := provider.envoy_ext_authz_grpc) is not None:
            yield _made(provider.name, grpc, known)


def _made(name: str, item: ExtAuthz, known: dict[str, Service]) -> Authorizer:
    """One that is asked over gRPC, unless more is said of it."""
    host, fault = host_of(item, known)
    return Authorizer(
        name=name,
        protocol="grpc",
        host=host,
        port=item.port,
        timeout_s=item.timeout_s or DEFAULT_TIMEOUT_S,
        fail_open=item.fail_open,
        status_on_error=item.status_on_error,
        body=_body(item),
        clear_route_cache=item.clear_route_cache,
        fault=fault,
    )


def _over_http(made: Authorizer, item: ExtAuthzHttp) -> Authorizer:
    return replace(
        made,
        protocol="http",
        path_prefix=item.path_prefix,
        request_headers=item.include_request_headers_in_check or item.include_headers_in_check,
        additional_headers=item.include_additional_headers_in_check,
        upstream_headers=item.headers_to_upstream_on_allow,
        denied_headers=item.headers_to_downstream_on_deny,
        allowed_headers=item.headers_to_downstream_on_allow,
    )


def _body(item: ExtAuthz) -> BodyLimit | None:
    body = item.include_request_body_in_check
    if body is None:
        return None
    return BodyLimit(body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes)
