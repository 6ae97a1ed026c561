"""Decodes where a resource comes from: a `ConfigSource`, which leads to ADS or to a file."""

from __future__ import annotations

from pathlib import Path

from envoy.config.core.v3 import config_source_pb2

from proxy.config.fields import UNSUPPORTED
from proxy.config.rejected import Rejected, at


def source(message: config_source_pb2.ConfigSource, path: str) -> str:
    """'' for the aggregated stream (`ads`, or `self` inside it), else the path of a file, which
    must be there."""
    kind = message.WhichOneof("config_source_specifier")
    if kind is None:
        raise Rejected(path, "needs a source: ads or path_config_source")
    if message.resource_api_version == config_source_pb2.ApiVersion.V2:
        raise Rejected(at(path, "resource_api_version"), "version 2 of xDS is no longer in use")
    if kind in ("ads", "self"):
        return ""
    if kind == "path":
        return _file(message.path, at(path, "path"))
    if kind == "path_config_source":
        return _file(message.path_config_source.path, at(path, "path_config_source.path"))
    raise Rejected(at(path, kind), f"{UNSUPPORTED}; use ads or path_config_source")


def _file(name: str, path: str) -> str:
    try:
        there = Path(name).exists()
    except (OSError, ValueError):  # too long, or with a null in it
        there = False
    if not there:
        raise Rejected(path, f"`{name}` does not exist")
    return name
