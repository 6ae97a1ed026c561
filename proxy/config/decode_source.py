"""Decodes where a resource comes from: a `ConfigSource`, which must lead to ADS."""

from __future__ import annotations

from envoy.config.core.v3 import config_source_pb2

from proxy.config.fields import UNSUPPORTED
from proxy.config.rejected import Rejected, at


def from_ads(message: config_source_pb2.ConfigSource, path: str) -> None:
    """Refuses every source but the aggregated stream (`ads`, or `self` inside it)."""
    kind = message.WhichOneof("config_source_specifier")
    if kind is None:
        raise Rejected(path, "needs a source: ads")
    if kind not in ("ads", "self"):
        raise Rejected(at(path, kind), f"{UNSUPPORTED}; use ads")
    if message.resource_api_version == config_source_pb2.ApiVersion.V2:
        raise Rejected(at(path, "resource_api_version"), "version 2 of xDS is no longer in use")
