"""Decodes `envoy.filters.network.rbac`."""

from __future__ import annotations

from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import optional_seconds, unpack
from proxy.config.decode_rbac_rules import either
from proxy.config.model.rbac import NetworkRbac


def decode(packed: any_pb2.Any, path: str) -> NetworkRbac:
    message = unpack(rbac_pb2.RBAC, packed, path)
    return NetworkRbac(
        message.stat_prefix,
        either(message, "rules", "matcher", path),
        either(message, "shadow_rules", "shadow_matcher", path),
        message.shadow_rules_stat_prefix,
        optional_seconds(message, "delay_deny") or 0.0,
    )
