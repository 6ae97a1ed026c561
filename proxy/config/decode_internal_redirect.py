"""Decodes `InternalRedirectPolicy`: which redirects of an upstream the proxy follows itself."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.internal_redirect.allow_listed_routes.v3 import (
    allow_listed_routes_config_pb2 as allow_listed,
)
from envoy.extensions.internal_redirect.previous_routes.v3 import (
    previous_routes_config_pb2 as previous,
)
from envoy.extensions.internal_redirect.safe_cross_scheme.v3 import (
    safe_cross_scheme_config_pb2 as safe_cross_scheme,
)
from google.protobuf import any_pb2

from proxy.config.decode_common import type_name, unpack, unsupported_type, value_or
from proxy.config.model import InternalRedirectPolicy
from proxy.config.rejected import Rejected

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_ALLOWED = allow_listed.AllowListedRoutesConfig
_PREVIOUS = previous.PreviousRoutesConfig
_SAFE = safe_cross_scheme.SafeCrossSchemeConfig
_KINDS = tuple(kind.DESCRIPTOR.full_name for kind in (_ALLOWED, _PREVIOUS, _SAFE))


def internal_redirect(
    message: route_components_pb2.RouteAction, path: str
) -> InternalRedirectPolicy | None:
    """Of a route action; its old spelling (`internal_redirect_action`) too."""
    if message.HasField("internal_redirect_policy"):
        where = f"{path}.internal_redirect_policy"
        return _policy(message.internal_redirect_policy, where)
    if message.internal_redirect_action != message.HANDLE_INTERNAL_REDIRECT:
        return None
    return InternalRedirectPolicy(value_or(message, "max_internal_redirects", 1))


def _policy(
    message: route_components_pb2.InternalRedirectPolicy, path: str
) -> InternalRedirectPolicy:
    for i, name in enumerate(message.response_headers_to_copy):
        if name.startswith(":") or name.lower() == "host":
            raise Rejected(f"{path}.response_headers_to_copy[{i}]", "`:` headers and host may not")
    found = [
        _predicate(each.typed_config, f"{path}.predicates[{i}].typed_config")
        for i, each in enumerate(message.predicates)
    ]
    allowed = [frozenset(p.allowed_route_names) for p in found if isinstance(p, _ALLOWED)]
    codes = frozenset(message.redirect_response_codes) & REDIRECTS
    return InternalRedirectPolicy(
        max_internal_redirects=value_or(message, "max_internal_redirects", 1),
        response_codes=codes if message.redirect_response_codes else frozenset((302,)),
        allow_cross_scheme=message.allow_cross_scheme_redirect,
        headers_to_copy=tuple(name.lower() for name in message.response_headers_to_copy),
        not_previous_routes=any(isinstance(each, _PREVIOUS) for each in found),
        safe_cross_scheme=any(isinstance(each, _SAFE) for each in found),
        allowed_routes=frozenset.intersection(*allowed) if allowed else None,
    )


def _predicate(packed: any_pb2.Any, path: str) -> object:
    for kind in (_ALLOWED, _PREVIOUS, _SAFE):
        if type_name(packed) == kind.DESCRIPTOR.full_name:
            return unpack(kind, packed, path)
    raise unsupported_type(packed, path, _KINDS)
