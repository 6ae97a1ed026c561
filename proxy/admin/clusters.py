"""`/clusters`: every cluster with its hosts and their counters, in Envoy's text and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import starmap
from typing import Any

from proxy.admin.listeners import address_json
from proxy.admin.reply import Query, Reply, bad_request, json_reply
from proxy.admin.view import AdminView
from proxy.config.model import Thresholds
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host

_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active", "rq_pending_active")


def clusters(view: AdminView, query: Query) -> Reply:
    """?filter=regex of names, ?format=text|json"""
    form = query.get("format", "text")
    if form not in ("text", "json"):
        return bad_request("usage: /clusters?format=(json|text)")
    try:
        pattern = re.compile(query.get("filter", ""))
    except re.error as error:
        return bad_request(f"Invalid regex: {error}")
    dynamic = view.dynamic_clusters()
    shown = [(each, each.name in dynamic) for each in view.clusters() if pattern.search(each.name)]
    if form == "json":
        return json_reply({"cluster_statuses": starmap(_status, shown)})
    return Reply("".join(line + "\n" for line in _lines(*each)) for each in shown)


# --------------------------------------------------------------------------- text


def _lines(cluster: Cluster, dynamic: bool) -> Iterable[str]:
    name = cluster.name
    yield f"{name}::observability_name::{_observability_name(cluster)}"
    outlier = cluster.outlier
    if outlier is not None:
        for statistic, average in (
            ("success_rate", outlier.average),
            ("local_origin_success_rate", outlier.local_average),
        ):
            yield f"{name}::outlier::{statistic}_average::{average.mean:g}"
            yield f"{name}::outlier::{statistic}_ejection_threshold::{average.threshold:g}"
    for priority, limits in _thresholds(cluster):
        for limit, most in _limits(limits).items():
            yield f"{name}::{priority}_priority::{limit}::{most}"
    yield f"{name}::added_via_api::{_word(dynamic)}"
    for host in cluster.hosts:
        for key, value in _facts(host).items():
            yield f"{name}::{host.text}::{key}::{value}"


def _facts(host: Host) -> dict[str, object]:
    """In Envoy's order. Success rates are percent, -1 where there is none."""
    monitor = host.monitor
    region, zone, sub_zone = host.locality
    return {
        **dict(sorted({**_counters(host), **_gauges(host)}.items())),
        "hostname": host.hostname,
        "health_flags": _health_flags(host),
        "weight": host.weight,
        "region": region,
        "zone": zone,
        "sub_zone": sub_zone,
        "canary": _word(_canary(host)),
        "priority": host.priority,
        "success_rate": f"{monitor.external.percent:g}" if monitor else -1,
        "local_origin_success_rate": f"{monitor.local.percent:g}" if monitor else -1,
    }


def _counters(host: Host) -> dict[str, int]:
    return {name: getattr(host, name) for name in _COUNTERS}


def _gauges(host: Host) -> dict[str, int]:
    pending = sum(len(pool.pending) for pool in host.pools.values())
    values = (len(host.connections), host.active, pending)
    return dict(zip(_GAUGES, values, strict=True))


_EDS_FLAGS = {
    "UNHEALTHY": "/failed_eds_health",
    "TIMEOUT": "/failed_eds_health",
    "DRAINING": "/eds_status_draining",
    "DEGRADED": "/degraded_eds_health",
}


_HEALTH_FLAGS = (
    ("/failed_active_hc", "failed"),
    ("/failed_outlier_check", "ejected"),
    ("/degraded_active_hc", "degraded_by_check"),
    ("/pending_dynamic_removal", "leaving"),
    ("/pending_active_hc", "unchecked"),
    ("/excluded_via_immediate_hc_fail", "failed_at_once"),
    ("/active_hc_timeout", "timed_out"),
)
_FLAG_ORDER = (
    "/failed_active_hc", "/failed_outlier_check", "/failed_eds_health", "/degraded_active_hc",
    "/degraded_eds_health", "/pending_dynamic_removal", "/pending_active_hc",
    "/excluded_via_immediate_hc_fail", "/active_hc_timeout", "/eds_status_draining",
)  # fmt: skip
# The same of `envoy.admin.v3.HostHealthStatus`.
_HEALTH_FIELDS = (
    ("failed_active_health_check", "failed"),
    ("failed_outlier_check", "ejected"),
    ("failed_active_degraded_check", "degraded_by_check"),
    ("pending_dynamic_removal", "leaving"),
    ("pending_active_hc", "unchecked"),
    ("excluded_via_immediate_hc_fail", "failed_at_once"),
    ("active_hc_timeout", "timed_out"),
)


def _health_flags(host: Host) -> str:
    """Envoy writes each flag behind a slash, and `healthy` where there is none."""
    eds = _EDS_FLAGS.get(host.health, "")
    flags = [name for name, of in _HEALTH_FLAGS if getattr(host, of)]
    flags += [eds] if eds else []
    return "".join(sorted(flags, key=_FLAG_ORDER.index)) or "healthy"


def _canary(host: Host) -> bool:
    return bool(host.metadata.get("envoy.lb", {}).get("canary"))


def _word(value: bool) -> str:
    return "true" if value else "false"


def _observability_name(cluster: Cluster) -> str:
    return cluster.config.alt_stat_name or cluster.name


def _thresholds(cluster: Cluster) -> tuple[tuple[str, Thresholds], ...]:
    config = cluster.config
    return ("default", config.thresholds_default), ("high", config.thresholds_high)


def _limits(limits: Thresholds) -> dict[str, int]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {name: getattr(limits, name) for name in names}


# --------------------------------------------------------------------------- JSON


def _status(cluster: Cluster, dynamic: bool) -> dict[str, Any]:
    """`envoy.admin.v3.ClusterStatus`; a field at its default is left out, as protobuf does."""
    status: dict[str, Any] = {"name": cluster.name}
    if dynamic:
        status["added_via_api"] = True
    if cluster.hosts:
        status["host_statuses"] = [_host_status(host) for host in cluster.hosts]
    default, high = (_limits(limits) for _, limits in _thresholds(cluster))
    status["circuit_breakers"] = {"thresholds": [default, {"priority": "HIGH", **high}]}
    status["observability_name"] = _observability_name(cluster)
    if cluster.config.eds_service_name:
        status["eds_service_name"] = cluster.config.eds_service_name
    return status


def _host_status(host: Host) -> dict[str, Any]:
    status: dict[str, Any] = {
        "address": address_json(host.address),
        "stats": [_metric(name, value) for name, value in _counters(host).items()]
        + [{"type": "GAUGE", **_metric(name, value)} for name, value in _gauges(host).items()],
        "health_status": _health_status(host),
        "weight": host.weight,
    }
    if host.hostname:
        status["hostname"] = host.hostname
    if host.priority:
        status["priority"] = host.priority
    keys = ("region", "zone", "sub_zone")
    status["locality"] = {k: v for k, v in zip(keys, host.locality, strict=True) if v}
    return status


def _metric(name: str, value: int) -> dict[str, str]:
    """A uint64 is a string in protobuf's JSON, and absent at zero."""
    return {"value": str(value), "name": name} if value else {"name": name}


def _health_status(host: Host) -> dict[str, Any]:
    health: dict[str, Any] = {
        "eds_health_status": "HEALTHY" if host.health == "UNKNOWN" else host.health
    }
    health |= {name: True for name, of in _HEALTH_FIELDS if getattr(host, of)}
    return health
