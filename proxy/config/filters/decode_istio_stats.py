"""Decodes `stats.PluginConfig`, of Istio's metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.config.fields import UNSUPPORTED
from proxy.config.model.istio import Expression, IstioStats, MetricOverride
from proxy.config.rejected import Rejected
from proxy.config.structs import duration_s, fields, messages, switch, text, texts

TYPE_URL = "type.googleapis.com/stats.PluginConfig"

HTTP_METRICS = (
    "requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes",
    "request_messages_total", "response_messages_total",
)  # fmt: skip
TCP_METRICS = (
    "tcp_sent_bytes_total", "tcp_received_bytes_total", "tcp_connections_opened_total",
    "tcp_connections_closed_total",
)  # fmt: skip
ATTRIBUTES = (
    "request.host", "request.method", "request.path", "request.url_path", "request.scheme",
    "request.useragent", "request.referer", "request.id", "request.protocol", "response.code",
    "response.grpc_status", "response.flags", "response.code_details", "connection.mtls",
    "connection.requested_server_name", "connection.tls_version", "destination.port",
    "source.address", "destination.address", "xds.cluster_name", "xds.route_name", "node.id",
)  # fmt: skip
"""Of Envoy's attributes, those that a metric may have for a tag."""

MAPPINGS = ("request.headers", "response.headers", "node.metadata")
"""With a key in brackets."""

_NO_EFFECT = ("rotation_interval", "graceful_deletion_interval", "rescoping_duration",
              "scope_grace_period_duration")  # fmt: skip
"""How often Istio forgets what it has counted, as it has no bound; here there is one, and what is
idle is forgotten anyway."""

_FIELDS = ("disable_host_header_fallback", "tcp_reporting_duration", "metrics", "definitions",
           "reporter", *_NO_EFFECT)  # fmt: skip
_LITERAL = re.compile(r"'([^'\\\n]*)'|\"([^\"\\\n]*)\"")
_LOOKED_UP = re.compile(r"([a-z_.]+)\[(?:'([^'\\\n]+)'|\"([^\"\\\n]+)\")\]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def decode(value: Mapping[str, Any], path: str) -> IstioStats:
    given = fields(value, path, _FIELDS)
    if messages(given, "definitions", path):
        raise Rejected(f"{path}.definitions", f"a metric of one's own is {UNSUPPORTED}")
    reporter = text(given, "reporter", path)
    if reporter not in ("", "UNSPECIFIED"):
        raise Rejected(f"{path}.reporter", f"`{reporter}` is {UNSUPPORTED}")
    return IstioStats(
        overrides=tuple(
            _override(one, f"{path}.metrics[{i}]")
            for i, one in enumerate(messages(given, "metrics", path))
        ),
        host_fallback=not switch(given, "disable_host_header_fallback", path),
        interval_s=duration_s(given, "tcp_reporting_duration", path, 5.0),
    )


def _override(value: object, path: str) -> MetricOverride:
    given = fields(value, path, ("dimensions", "name", "tags_to_remove", "drop"))
    metric = text(given, "name", path)
    if metric and metric not in HTTP_METRICS + TCP_METRICS:
        raise Rejected(f"{path}.name", f"`{metric}` is no metric of Istio's")
    dimensions = given.get("dimensions", {})
    if not isinstance(dimensions, dict):
        raise Rejected(f"{path}.dimensions", "wants a mapping")
    return MetricOverride(
        metric=metric,
        drop=switch(given, "drop", path),
        removes=texts(given, "tags_to_remove", path),
        dimensions=tuple(
            _dimension(name, dimensions[name], f"{path}.dimensions[{name}]")
            for name in sorted(dimensions)
        ),
    )


def _dimension(name: str, value: object, path: str) -> tuple[str, Expression]:
    if not _LABEL.fullmatch(name) or name == "le":
        raise Rejected(path, "is no name of a Prometheus label")
    if not isinstance(value, str):
        raise Rejected(path, "wants an expression")
    return name, expression(value, path)


def expression(value: str, path: str) -> Expression:
    """The part of CEL that needs no CEL: a text, or one attribute."""
    value = value.strip()
    if literal := _LITERAL.fullmatch(value):
        return Expression(literal=literal[1] or literal[2] or "")
    if value in ATTRIBUTES:
        return Expression(value)
    looked_up = _LOOKED_UP.fullmatch(value)
    if looked_up is None or looked_up[1] not in MAPPINGS:
        known = ", ".join((*ATTRIBUTES, *(f"{one}['name']" for one in MAPPINGS)))
        raise Rejected(path, f"`{value}` is {UNSUPPORTED} (it knows a text in quotes, {known})")
    return Expression(looked_up[1], looked_up[2] or looked_up[3])
