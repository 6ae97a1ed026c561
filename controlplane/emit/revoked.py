"""Revoked identities as a plain Envoy can refuse them: Envoy's RBAC, before anything else is asked.

Over HTTP the rules stand in the routes, which come over RDS: so they hold for the next request of
a connection that is open already, while another listener would only be for new connections. Weft's
proxies have no need of it: the secret `weft.dev/revoked` ends their connections.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.emit.words import packed

NAME = "weft.revoked"
"""Of the filter, the policy, and in statistics."""
STAT_PREFIX = "weft_revoked."


def http_filter() -> hcm_pb2.HttpFilter:
    """Decides nothing by itself: `refuse` does, in the routes."""
    return hcm_pb2.HttpFilter(name=NAME, typed_config=packed(HttpRbac()))


def refuse(routes: RouteConfiguration, identities: Sequence[str]) -> None:
    """Has the filter refuse them on every route."""
    if identities:
        per_route = packed(RBACPerRoute(rbac=HttpRbac(rules=deny(identities))))
        for host in routes.virtual_hosts:
            host.typed_per_filter_config[NAME].CopyFrom(per_route)


def network_filters(identities: Sequence[str]) -> list[Filter]:
    """Before the relay of a TCP port; nothing while nobody is revoked."""
    if not identities:
        return []
    config = packed(NetworkRbac(rules=deny(identities), stat_prefix=STAT_PREFIX))
    return [Filter(name=NAME, typed_config=config)]


def deny(identities: Sequence[str]) -> RBAC:
    """Whatever they ask."""
    ids = [
        Principal(authenticated=Principal.Authenticated(principal_name=StringMatcher(exact=one)))
        for one in identities
    ]
    nobody = Policy(
        permissions=[Permission(any=True)],
        principals=[Principal(or_ids=Principal.Set(ids=ids))],
    )
    return RBAC(action=RBAC.DENY, policies={NAME: nobody})
