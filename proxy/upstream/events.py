"""Events of hosts as lines of JSON, in the words of Envoy's event logs
(`data.cluster.v3.OutlierDetectionEvent`, `data.core.v3.HealthCheckEvent`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from proxy.config.model import GrpcCheck, HttpCheck, SocketAddress, TcpCheck
from proxy.upstream.health_check import HealthEvent
from proxy.upstream.outlier import (
    FAILURES,
    LOCAL_FAILURES,
    LOCAL_SUCCESS_RATE,
    SUCCESS_RATE,
    OutlierEvent,
)

_KINDS = {HttpCheck: "HTTP", TcpCheck: "TCP", GrpcCheck: "GRPC"}


def outlier_line(event: OutlierEvent, cluster: str, unix_now: float) -> bytes:
    """An UNEJECT carries the first type of all, as its own is not set (Envoy)."""
    fields: dict[str, Any] = {
        "type": event.kind[0] if event.kind is not None else "CONSECUTIVE_5XX",
        "timestamp": _timestamp(unix_now),
    }
    if event.since_s is not None:
        fields["secs_since_last_action"] = str(int(event.since_s))
    fields["cluster_name"] = cluster
    fields["upstream_url"] = event.host.text
    fields["action"] = "UNEJECT" if event.kind is None else "EJECT"
    fields["num_ejections"] = event.ejections
    fields["enforced"] = event.enforced
    if event.kind in (SUCCESS_RATE, LOCAL_SUCCESS_RATE):
        fields["eject_success_rate_event"] = {
            "host_success_rate": int(event.rate),
            "cluster_average_success_rate": int(event.average.mean),
            "cluster_success_rate_ejection_threshold": max(0, int(event.average.threshold)),
        }
    elif event.kind in (FAILURES, LOCAL_FAILURES):
        fields["eject_failure_percentage_event"] = {"host_success_rate": int(event.rate)}
    elif event.kind is not None:
        fields["eject_consecutive_event"] = {}
    return _line(fields)


def health_line(
    event: HealthEvent, check: HttpCheck | TcpCheck | GrpcCheck, cluster: str, unix_now: float
) -> bytes:
    host = event.host
    fields: dict[str, Any] = {
        "health_checker_type": _KINDS[type(check)],
        "host": _address(host.address),
        "cluster_name": cluster,
        event.kind: _details(event),
        "timestamp": _timestamp(unix_now),
    }
    if host.metadata:
        fields["metadata"] = {"filter_metadata": host.metadata, "typed_filter_metadata": {}}
    region, zone, sub_zone = host.locality
    fields["locality"] = {"region": region, "zone": zone, "sub_zone": sub_zone}
    return _line(fields)


def _details(event: HealthEvent) -> dict[str, Any]:
    if event.kind == "eject_unhealthy_event":
        return {"failure_type": event.failure, "http_status_code": event.status}
    if event.kind == "health_check_failure_event":
        return {
            "failure_type": event.failure,
            "first_check": event.first,
            "http_status_code": event.status,
        }
    return {"first_check": event.first} if event.kind == "add_healthy_event" else {}


def _address(address: SocketAddress) -> dict[str, Any]:
    if address.path:
        return {"pipe": {"path": address.path, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": address.host,
            "port_value": address.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }


def _timestamp(unix_s: float) -> str:
    """Milliseconds, as protobuf's JSON writes them."""
    text = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
