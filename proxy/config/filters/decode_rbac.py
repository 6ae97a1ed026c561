"""Decodes `envoy.filters.http.rbac`, with its rules per route."""

from __future__ import annotations

from envoy.extensions.filters.http.rbac.v3 import rbac_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse
from proxy.config.decode_rbac_rules import either
from proxy.config.model.rbac import AnyRules

TYPE_URL = PREFIX + rbac_pb2.RBAC.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + rbac_pb2.RBACPerRoute.DESCRIPTOR.full_name


@frozen
class RbacConfig:
    """Rules None: nothing is enforced, or tried in the shadow."""

    rules: AnyRules | None = None
    shadow_rules: AnyRules | None = None
    stat_prefix: str = ""
    shadow_stat_prefix: str = ""
    tracks_rules: bool = False


def decode(value: bytes, path: str) -> RbacConfig:
    return _config(parse(rbac_pb2.RBAC, value, path), path)


def decode_per_route(value: bytes, path: str) -> RbacConfig:
    """Without `rbac` inside it turns the filter off."""
    message = parse(rbac_pb2.RBACPerRoute, value, path)
    return _config(message.rbac, f"{path}.rbac")


def _config(message: rbac_pb2.RBAC, path: str) -> RbacConfig:
    return RbacConfig(
        either(message, "rules", "matcher", path),
        either(message, "shadow_rules", "shadow_matcher", path),
        message.rules_stat_prefix,
        message.shadow_rules_stat_prefix,
        message.track_per_rule_stats,
    )
