"""Filters that few rules ask for, in Envoy's words: sessions that stay with an endpoint, and
services that are asked about each request of a rule.

They stand in the listeners of such rules only, turned off; the routes turn them on.
"""

from __future__ import annotations

from hashlib import sha256

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import FilterConfig as Enabled
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from google.protobuf.any_pb2 import Any

from controlplane.emit import ext_authz
from controlplane.emit.words import packed, seconds
from controlplane.mesh.http_rules import HttpRule, Session
from controlplane.mesh.policy import Authorizer

SESSION = "envoy.filters.http.stateful_session"
AUTHORIZING = "envoy.filters.http.ext_authz"
_STATE = "envoy.http.stateful_session."
_DIGITS = 12


def configs(rule: HttpRule) -> dict[str, Any]:
    """For a route's typed_per_filter_config."""
    found = {_name(one): packed(Enabled(config=Any())) for one in rule.authorizers}
    if rule.session is not None:
        own = StatefulSession(session_state=_state(rule.session))
        found[SESSION] = packed(StatefulSessionPerRoute(stateful_session=own))
    return found


def keeping_sessions() -> hcm_pb2.HttpFilter:
    """A session's host that has gone is replaced by another one (not strict)."""
    config = packed(StatefulSession())
    return hcm_pb2.HttpFilter(name=SESSION, typed_config=config, disabled=True)


def _state(session: Session) -> TypedExtensionConfig:
    if session.kind == "header":
        header = HeaderBasedSessionState(name=session.name)
        return TypedExtensionConfig(name=f"{_STATE}header", typed_config=packed(header))
    state = CookieBasedSessionState()
    state.cookie.name = session.name
    state.cookie.path = session.path
    if session.ttl_s:
        state.cookie.ttl.CopyFrom(seconds(session.ttl_s))
    return TypedExtensionConfig(name=f"{_STATE}cookie", typed_config=packed(state))


# --------------------------------------------------------------------------- authorization


def authorizing(authorizer: Authorizer) -> hcm_pb2.HttpFilter:
    config = packed(ext_authz.always(authorizer))
    return hcm_pb2.HttpFilter(name=_name(authorizer), typed_config=config, disabled=True)


def _name(authorizer: Authorizer) -> str:
    """Of its filter: by what it does, so that rules that ask the same share one."""
    text = ext_authz.always(authorizer).SerializeToString(deterministic=True)
    return f"{AUTHORIZING}.{sha256(text).hexdigest()[:_DIGITS]}"
