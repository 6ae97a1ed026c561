"""Tags of metrics in Telemetry: the part of CEL that proxies can say without an interpreter.

    request.method      request.headers['x-tenant']      'prod'

A proxy refuses what is not among these, so that it must be found out here.
"""

from __future__ import annotations

import re

ATTRIBUTES = (
    "request.host", "request.method", "request.path", "request.url_path", "request.scheme",
    "request.useragent", "request.referer", "request.id", "request.protocol", "response.code",
    "response.grpc_status", "response.flags", "response.code_details", "connection.mtls",
    "connection.requested_server_name", "connection.tls_version", "destination.port",
    "source.address", "destination.address", "xds.cluster_name", "xds.route_name", "node.id",
)  # fmt: skip
MAPPINGS = ("request.headers", "response.headers", "node.metadata")

_OF_WORKLOADS = (
    "workload", "workload_namespace", "principal", "app", "version", "canonical_service",
    "canonical_revision", "cluster",
)  # fmt: skip
STANDARD = frozenset(
    (
        "reporter",
        "request_protocol",
        "response_code",
        "grpc_response_status",
        "response_flags",
        "connection_security_policy",
        "destination_service",
        "destination_service_name",
        "destination_service_namespace",
        *(f"source_{what}" for what in _OF_WORKLOADS),
        *(f"destination_{what}" for what in _OF_WORKLOADS),
    )
)
"""Istio's own."""

_LITERAL = re.compile(r"'[^'\\\n]*'|\"[^\"\\\n]*\"")
_LOOKED_UP = re.compile(r"([a-z_.]+)\[(?:'[^'\\\n]+'|\"[^\"\\\n]+\")\]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def fault_of_name(name: str) -> str:
    """Why it can't be a tag; '' if it can."""
    if name == "le":
        return "is what Prometheus calls the edge of a bucket"
    return "" if _LABEL.fullmatch(name) else "is no name of a Prometheus label"


def fault_of_value(expression: str) -> str:
    """Why a proxy can't say it; '' if it can."""
    text = expression.strip()
    looked_up = _LOOKED_UP.fullmatch(text)
    if _LITERAL.fullmatch(text) or text in ATTRIBUTES:
        return ""
    if looked_up is not None and looked_up[1] in MAPPINGS:
        return ""
    known = ", ".join((*ATTRIBUTES, *(f"{one}['name']" for one in MAPPINGS)))
    return f"{text!r} is not supported: a text in quotes, or one of {known}"
