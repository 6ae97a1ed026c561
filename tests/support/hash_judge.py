"""Who is picked for a hash: asked of a real Envoy and of our clusters, for the same configuration.

Nobody listens at the endpoints: which connection was refused tells who was picked.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.config.decode_cds import cluster as decode_cluster
from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.stats import Stats
from proxy.upstream.balance.hashing import xx_hash
from proxy.upstream.cluster import Cluster
from tests.support.envoy import envoy
from tests.support.ports import free_port

_EXTENSIONS = "type.googleapis.com/envoy.extensions."
HERE = ("127.0.0.1", 1)
NOBODY = ConnectionInfo(HERE, HERE, HERE)
REQUEST = Request(b"GET", b"/", b"a", Headers())


@dataclass(frozen=True)
class Case:
    """cluster: fields of a STATIC cluster beside its endpoints. metadata_match: of the route, the
    keys of `envoy.lb`."""

    endpoints: list[dict[str, Any]]
    cluster: Mapping[str, Any]
    metadata_match: Mapping[str, Any] = field(default_factory=dict)

    def config(self, name: str) -> dict[str, Any]:
        assignment = {"cluster_name": name, "endpoints": self.endpoints}
        return {"name": name, "type": "STATIC", "load_assignment": assignment, **self.cluster}


@dataclass(frozen=True)
class Picked:
    """hosts: one per request, '-' for none. stats: of the cluster, without its prefix."""

    hosts: list[str]
    stats: Mapping[str, int]


@dataclass(frozen=True)
class _Route:
    value: int
    metadata_match: Mapping[str, Any]

    def hash(self, context: object) -> int:
        return self.value


@dataclass(frozen=True, eq=False)
class _Context:
    route: _Route
    request: Request = REQUEST
    info: ConnectionInfo = field(default_factory=lambda: NOBODY)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def weft_picks(name: str, case: Case, times: int) -> Picked:
    message = json_format.ParseDict(case.config(name), cluster_pb2.Cluster())
    decoded = decode_cluster(message)
    stats = Stats()
    running = Cluster(decoded, stats, Random(1), lambda *_: None, lambda _: None)
    assert decoded.load_assignment is not None
    running.set_endpoints(decoded.load_assignment)
    assert running.pick_for is not None
    hosts = []
    for number in range(times):
        route = _Route(xx_hash(b"value %d" % number), case.metadata_match)
        host = running.pick_for(_Context(route))
        hosts.append("-" if host is None else host.text)
    both = (*stats.counters.items(), *stats.gauges.items())
    return Picked(hosts, {key.removeprefix(running.prefix): one.value for key, one in both})


def envoy_picks(cases: Mapping[str, Case], times: int, folder: Path) -> dict[str, Picked]:
    port, log = free_port(), folder / "access.log"
    with envoy(_bootstrap(cases, port, log), folder) as proxy:
        _ask(port, cases, times)
        stats = proxy.stats()
    hosts: dict[str, list[str]] = {name: [] for name in cases}
    for line in log.read_text().splitlines():
        name, host = line.split("|")
        hosts[name].append(host)
    return {
        name: Picked(
            hosts[name],
            {
                key.removeprefix(f"cluster.{name}."): value
                for key, value in stats.items()
                if key.startswith(f"cluster.{name}.")
            },
        )
        for name in cases
    }


def _ask(port: int, cases: Mapping[str, Case], times: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        answers = connection.makefile("rb")
        for name in cases:
            for number in range(times):
                head = f"GET / HTTP/1.1\r\nhost: a\r\nx-case: {name}\r\nx-hash: value {number}"
                connection.sendall(head.encode() + b"\r\n\r\n")
                _skip_answer(answers)


def _skip_answer(answers: Any) -> None:
    length = 0
    while (line := answers.readline()) != b"\r\n":
        assert line, "Envoy closed the connection"
        key, _, value = line.partition(b":")
        if key.lower() == b"content-length":
            length = int(value)
    answers.read(length)


def _route(name: str, case: Case) -> dict[str, Any]:
    action: dict[str, Any] = {
        "cluster": name,
        "hash_policy": [{"header": {"header_name": "x-hash"}}],
    }
    if case.metadata_match:
        action["metadata_match"] = {"filter_metadata": {"envoy.lb": case.metadata_match}}
    exact = {"name": "x-case", "string_match": {"exact": name}}
    return {"match": {"prefix": "/", "headers": [exact]}, "route": action}


def _bootstrap(cases: Mapping[str, Case], port: int, log: Path) -> dict[str, Any]:
    routes = [_route(name, case) for name, case in cases.items()]
    router = {"@type": f"{_EXTENSIONS}filters.http.router.v3.Router"}
    line = {"text_format_source": {"inline_string": "%REQ(X-CASE)%|%UPSTREAM_HOST%\n"}}
    file_log = {
        "@type": f"{_EXTENSIONS}access_loggers.file.v3.FileAccessLog",
        "path": str(log),
        "log_format": line,
    }
    manager = {
        "@type": f"{_EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": router}],
        "access_log": [{"name": "file", "typed_config": file_log}],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    clusters = [case.config(name) for name, case in cases.items()]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}
