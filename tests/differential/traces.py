"""Requests that are traced, one listener each: a bootstrap for both proxies, and what came of it.

Identities and addresses are replaced by names in the order in which they turn up, so that two runs
can be compared.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.collector import Collector
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.wait import eventually

Plain = dict[str, Any]
EXTENSIONS = "type.googleapis.com/envoy.extensions."
TRACERS = EXTENSIONS + "tracers.opentelemetry."
OTLP = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")
_HOST = re.compile(r"127\.0\.0\.1:[0-9]+")
_OTHER = {"date", "x-envoy-upstream-service-time", "x-envoy-expected-rq-timeout-ms"}
_OTHER |= {"host", "accept-encoding", "server"}
_OF_TIME = {"startTimeUnixNano", "endTimeUnixNano", "timestamp", "duration"}


@dataclass(frozen=True)
class Traced:
    """A request and what its listener is configured with. spans: how many are told."""

    name: str
    tracing: Plain = field(default_factory=dict)
    route: Plain = field(default_factory=dict)
    host: Plain = field(default_factory=dict)
    manager: Plain = field(default_factory=dict)
    filters: tuple[Plain, ...] = ()
    outbound: bool = False
    provider: Plain | None = field(default_factory=lambda: {"grpc_service": GRPC})
    method: str = "GET"
    path: str = "/a?b=c"
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)
    spans: int = 1


GRPC: Plain = {"envoy_grpc": {"cluster_name": "otlp"}}


def outcomes(
    cases: Sequence[Traced], start: Callable[[Plain, Path], ProxyProcess], folder: Path
) -> dict[str, Plain]:
    """By the names of the cases."""
    with Collector() as collector, Reservation() as ports:
        listeners = [(case, ports.port()) for case in cases]
        with start(_bootstrap(collector, listeners), folder) as proxy:
            found = {case.name: _outcome(case, port, collector) for case, port in listeners}
            stats = proxy.stats()
    for case, port in listeners:
        found[case.name]["counts"] = {
            name.partition(".tracing.")[2]: count
            for name, count in stats.items()
            if name.startswith(f"http.{port}.tracing.") and count
        }
    return found


def _outcome(case: Traced, port: int, collector: Collector) -> Plain:
    told, asked = len(collector.spans()) + len(collector.zipkin), len(collector.requests)
    collector.answer = dict(case.answer)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        eventually(
            lambda: _connected(client), what="a listener"
        )  # "ready" may come before all listen
        client.request(case.method, case.path, headers={"host": "h.example", **case.headers})
        answer = client.getresponse()
        answer.read()
    wanted = told + case.spans
    eventually(lambda: len(collector.spans()) + len(collector.zipkin) >= wanted, what=case.name)
    return _named(
        {
            "status": answer.status,
            "answer": _shown({name.lower(): value for name, value in answer.getheaders()}),
            "requests": [_shown(head) for head in collector.requests[asked:]],
            "spans": sorted(map(_span, _spans(collector)[told:]), key=_place),
        }
    )


def _spans(collector: Collector) -> list[Plain]:
    return [*collector.spans(), *collector.zipkin]


def _place(span: Plain) -> str:
    """They come in any order. Attempts are in theirs."""
    count = span.get("attributes", {}).get("retry.count", {"stringValue": ""})
    return f"{span['kind']} {span['name']} {count['stringValue']}"


def _shown(head: Mapping[str, str]) -> Plain:
    return {name: value for name, value in head.items() if name not in _OTHER}


def _span(span: Plain) -> Plain:
    assert int(span.get("startTimeUnixNano", 0)) <= int(span.get("endTimeUnixNano", 0))
    shown = {name: value for name, value in span.items() if name not in _OF_TIME}
    if "attributes" in span:
        shown["attributes"] = {one["key"]: one["value"] for one in span["attributes"]}
    if "annotations" in span:
        shown["annotations"] = [one["value"] for one in span["annotations"]]
    if "events" in span:
        shown["events"] = [event["name"] for event in span["events"]]
    return shown


def _named(found: Plain) -> Plain:
    names: dict[str, str] = {}
    text = json.dumps(found)
    text = _UUID.sub(r"uuid-\1", text)
    text = _HOST.sub("HOST", text)
    text = _ID.sub(lambda one: names.setdefault(one[0], f"id{len(names)}"), text)
    result: Plain = json.loads(text)
    return result


# --------------------------------------------------------------------------- configuration


def _connected(client: http.client.HTTPConnection) -> bool:
    try:
        client.connect()
    except ConnectionRefusedError:
        return False
    return True


def _bootstrap(collector: Collector, listeners: Sequence[tuple[Traced, int]]) -> Plain:
    keys = {"opentelemetry": {"min_flush_spans": 1}, "zipkin": {"min_flush_spans": 1}}
    return {
        "node": {"id": "node-1", "cluster": "cl", "locality": {"zone": "z1"}},
        "static_resources": {
            "listeners": [_listener(case, port) for case, port in listeners],
            "clusters": [
                _cluster("up", collector.upstream_port),
                _cluster("dead", 1),
                {**_cluster("nohost", 1), "load_assignment": {"cluster_name": "nohost"}},
                _cluster("otlp", collector.grpc_port, http2=True),
                _cluster("http", collector.http_port),
            ],
        },
        "layered_runtime": {"layers": [{"name": "s", "static_layer": {"tracing": keys}}]},
    }


def _listener(case: Traced, port: int) -> Plain:
    tracing = dict(case.tracing)
    if case.provider is not None:
        typed = {"@type": OTLP, **case.provider}
        tracing["provider"] = {"name": "envoy.tracers", "typed_config": typed}
    route = {"match": {"prefix": "/"}, "metadata": _metadata(r="rv"), **case.route}
    if not {"redirect", "direct_response"} & set(route):
        route.setdefault("route", {"cluster": "up"})
    host = {"name": "v", "domains": ["*"], "routes": [route], **case.host}
    router = {"@type": EXTENSIONS + "filters.http.router.v3.Router"}
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": str(port),
        "tracing": tracing,
        "route_config": {"name": "r", "virtual_hosts": [host]},
        "http_filters": [*case.filters, {"name": "router", "typed_config": router}],
        **case.manager,
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": case.name,
        "address": address,
        "traffic_direction": "OUTBOUND" if case.outbound else "INBOUND",
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def _cluster(name: str, port: int, http2: bool = False) -> Plain:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    host = {"endpoint": {"address": address}, "metadata": _metadata(host="hv", n=5)}
    options = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
    cluster: Plain = {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC",
        "metadata": _metadata(c="cv"),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }
    if http2:
        typed = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {options.rpartition("/")[2]: typed}
    return cluster


def _metadata(**values: object) -> Plain:
    return {"filter_metadata": {"m": values}}
