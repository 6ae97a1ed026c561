"""Decodes a `Route`: what it matches, what it does, and what it says to filters."""

from __future__ import annotations

from dataclasses import replace

from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_answers import direct_response, redirect
from proxy.config.decode_common import (
    header_edits,
    metadata,
    value_or,
)
from proxy.config.decode_old_cors import with_cors
from proxy.config.decode_route_action import route_action
from proxy.config.decode_route_match import route_match
from proxy.config.filters.decode_per_route import filter_configs
from proxy.config.model import (
    DirectResponse,
    NonForwardingAction,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
)
from proxy.config.rejected import Rejected
from proxy.http.uri_template import TemplateError, check_rewrite, parse_template

Action = RouteAction | RedirectAction | DirectResponse | NonForwardingAction


def route(message: route_components_pb2.Route, path: str, max_body_bytes: int) -> Route:
    """`message` must be checked. max_body_bytes: of a direct response."""
    found = Route(
        match=route_match(message.match, f"{path}.match"),
        action=_action(message, path, max_body_bytes),
        name=message.name,
        edits=header_edits(message, path),
        metadata=metadata(message.metadata),
        stat_prefix=message.stat_prefix,
        request_buffer_limit_bytes=request_buffer_limit(message),
        filter_configs=with_cors(
            filter_configs(message.typed_per_filter_config, f"{path}.typed_per_filter_config"),
            message.route.cors if message.route.HasField("cors") else None,
            f"{path}.route.cors",
        ),
    )
    if message.HasField("tracing") or message.HasField("decorator"):
        found = _traced(found, message, path)
    if isinstance(found.action, RouteAction):
        _check_template(found.match, found.action, f"{path}.route")
    return found


def _traced(found: Route, message: route_components_pb2.Route, path: str) -> Route:
    from proxy.config.decode_tracing import decorator, route_tracing  # few have it

    tracing = route_tracing(message, f"{path}.tracing")
    return replace(found, tracing=tracing, decorator=decorator(message))


def request_buffer_limit(
    message: route_components_pb2.Route | route_components_pb2.VirtualHost,
) -> int | None:
    """The new field has the last word (Envoy)."""
    old = value_or(message, "per_request_buffer_limit_bytes", None)
    limit: int | None = value_or(message, "request_body_buffer_limit", old)
    return limit


def _action(message: route_components_pb2.Route, path: str, max_body_bytes: int) -> Action:
    kind = message.WhichOneof("action")
    if kind == "route":
        return route_action(message.route, f"{path}.route")
    if kind == "redirect":
        return redirect(message.redirect, f"{path}.redirect")
    if kind == "non_forwarding_action":
        return NonForwardingAction()
    return direct_response(message.direct_response, f"{path}.direct_response", max_body_bytes)


def _check_template(match: RouteMatch, action: RouteAction, path: str) -> None:
    """Envoy: only one of the rewrites, and a template's variables must be there to be used."""
    if match.uri_template is not None and action.prefix_rewrite:
        raise Rejected(f"{path}.prefix_rewrite", "cannot be used with path_match_policy")
    if action.path_template_rewrite is None:
        return
    where = f"{path}.path_rewrite_policy"
    if match.uri_template is None:
        raise Rejected(where, "needs a path_match_policy to take its variables from")
    try:
        check_rewrite(action.path_template_rewrite, parse_template(match.uri_template))
    except TemplateError as error:
        raise Rejected(where, str(error)) from None
