"""Decodes `InternalRedirectPolicy`: which redirects of an upstream the proxy follows itself."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2
from google.protobuf import any_pb2

from proxy.config.any_types import message_type
from proxy.config.decode_common import type_name, unpack, unsupported_type, value_or
from proxy.config.model import InternalRedirectPolicy
from proxy.config.rejected import Rejected

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PREDICATES = "envoy.extensions.internal_redirect."
_ALLOWED = f"{_PREDICATES}allow_listed_routes.v3.AllowListedRoutesConfig"
_PREVIOUS = f"{_PREDICATES}previous_routes.v3.PreviousRoutesConfig"
_SAFE = f"{_PREDICATES}safe_cross_scheme.v3.SafeCrossSchemeConfig"
_KINDS = (_ALLOWED, _PREVIOUS, _SAFE)


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
    names = {name for name, _ in found}
    allowed = [frozenset(each.allowed_route_names) for name, each in found if name == _ALLOWED]
    codes = frozenset(message.redirect_response_codes) & REDIRECTS
    return InternalRedirectPolicy(
        max_internal_redirects=value_or(message, "max_internal_redirects", 1),
        response_codes=codes if message.redirect_response_codes else frozenset((302,)),
        allow_cross_scheme=message.allow_cross_scheme_redirect,
        headers_to_copy=tuple(name.lower() for name in message.response_headers_to_copy),
        not_previous_routes=_PREVIOUS in names,
        safe_cross_scheme=_SAFE in names,
        allowed_routes=frozenset.intersection(*allowed) if allowed else None,
    )


def _predicate(packed: any_pb2.Any, path: str) -> tuple[str, Any]:
    """Its message's name, and the message."""
    name = type_name(packed)
    if name not in _KINDS:
        raise unsupported_type(packed, path, _KINDS)
    return name, unpack(message_type(name), packed, path)
