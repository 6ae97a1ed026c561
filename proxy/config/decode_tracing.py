"""Decodes which requests are traced and what their spans say: of a manager, and of a route."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Literal

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.type.metadata.v3 import metadata_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2

from proxy.config.decode_client_address import request_ids
from proxy.config.decode_common import format_string, percent, value_or
from proxy.config.decode_tracers import provider
from proxy.config.model import FractionalPercent
from proxy.config.model import tracing as model
from proxy.config.rejected import Rejected

CLIENT_KEY, RANDOM_KEY, OVERALL_KEY = (
    "tracing.client_enabled",
    "tracing.random_sampling",
    "tracing.global_enabled",
)
"""Runtime keys that go before the configuration."""
_HUNDREDTHS = 100
_Manager = hcm_pb2.HttpConnectionManager


def manager_tracing(message: _Manager, path: str) -> model.ManagerTracing:
    """`message` must be checked, and have `tracing`."""
    tracing, where = message.tracing, f"{path}.tracing"
    return model.ManagerTracing(
        sampling=model.Sampling(
            _share(tracing, "client_sampling", CLIENT_KEY),
            _share(tracing, "random_sampling", RANDOM_KEY),
            _share(tracing, "overall_sampling", OVERALL_KEY),
        ),
        tags=custom_tags(tracing.custom_tags, f"{where}.custom_tags"),
        operation=format_string(tracing.operation, f"{where}.operation"),
        upstream_operation=format_string(tracing.upstream_operation, f"{where}.upstream_operation"),
        spawns=tracing.spawn_upstream_span.value,
        max_path_bytes=value_or(tracing, "max_path_tag_length", 256),
        verbose=tracing.verbose,
        by_id=value_or(request_ids(message), "use_request_id_for_trace_sampling", True),
        provider=provider(tracing.provider, f"{where}.provider")
        if tracing.HasField("provider")
        else None,
    )


def _share(message: _Manager.Tracing, name: str, key: str) -> FractionalPercent:
    """In hundredths of a percent, as Envoy takes it."""
    if not message.HasField(name):
        return FractionalPercent(_HUNDREDTHS * 100, _HUNDREDTHS * 100, key)
    numerator = int(getattr(message, name).value * _HUNDREDTHS)
    return FractionalPercent(numerator, _HUNDREDTHS * 100, key)


def route_tracing(message: route_components_pb2.Route, path: str) -> model.RouteTracing | None:
    """What it does not say is 100 %, not the manager's (Envoy)."""
    if not message.HasField("tracing"):
        return None
    tracing = message.tracing
    return model.RouteTracing(
        model.Sampling(
            _fraction(tracing, "client_sampling", CLIENT_KEY, path),
            _fraction(tracing, "random_sampling", RANDOM_KEY, path),
            _fraction(tracing, "overall_sampling", OVERALL_KEY, path),
        ),
        custom_tags(tracing.custom_tags, f"{path}.custom_tags"),
        format_string(tracing.operation, f"{path}.operation"),
        format_string(tracing.upstream_operation, f"{path}.upstream_operation"),
    )


def _fraction(
    message: route_components_pb2.Tracing, name: str, key: str, path: str
) -> FractionalPercent:
    if not message.HasField(name):
        return FractionalPercent(100, 100, key)
    found: percent_pb2.FractionalPercent = getattr(message, name)
    return percent(found, f"{path}.{name}", key)


def decorator(message: route_components_pb2.Route) -> model.Decorator | None:
    if not message.HasField("decorator"):
        return None
    return model.Decorator(
        message.decorator.operation, value_or(message.decorator, "propagate", True)
    )


# --------------------------------------------------------------------------- tags


def custom_tags(
    messages: Iterable[custom_tag_pb2.CustomTag], path: str
) -> tuple[model.CustomTag, ...]:
    """Of several with one name the first one counts."""
    found: dict[str, model.CustomTag | None] = {}
    for i, message in enumerate(messages):
        tag = _tag(message, f"{path}[{i}]")
        found.setdefault(message.tag, tag)
    return tuple(tag for tag in found.values() if tag is not None)


def _tag(message: custom_tag_pb2.CustomTag, path: str) -> model.CustomTag | None:
    """None: an environment variable that is not there, without a default."""
    kind = message.WhichOneof("type")
    if kind == "literal":
        return model.LiteralTag(message.tag, message.literal.value)
    if kind == "environment":
        value = os.environ.get(message.environment.name, message.environment.default_value)
        return model.LiteralTag(message.tag, value) if value else None
    if kind == "request_header":
        header = message.request_header
        return model.HeaderTag(message.tag, header.name.lower(), header.default_value)
    if kind == "metadata":
        return _metadata_tag(message.tag, message.metadata, f"{path}.metadata")
    return model.FormatTag(message.tag, format_string(message.value, f"{path}.value"))


_OF: Mapping[str, Literal["request", "route", "cluster", "host"]] = {
    "request": "request",
    "route": "route",
    "cluster": "cluster",
    "host": "host",
}


def _metadata_tag(
    tag: str, message: custom_tag_pb2.CustomTag.Metadata, path: str
) -> model.MetadataTag:
    kind = message.kind.WhichOneof("kind")
    if kind is None:
        raise Rejected(f"{path}.kind", "is required")
    return model.MetadataTag(tag, _OF[kind], _path(message.metadata_key), message.default_value)


def _path(message: metadata_pb2.MetadataKey) -> tuple[str, ...]:
    return (message.key, *(segment.key for segment in message.path))
