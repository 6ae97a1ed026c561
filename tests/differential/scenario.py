"""A scenario: one YAML file that says what stands behind the proxy, how it is set, and who asks.

    about: one sentence
    upstreams:                    # name -> what answers; a cluster of that name (default: a)
      a:
        answers: [{status: 200, body: hello}]     # fields of `tests.support.upstream.Answer`
        hosts: 1                                  # so many listeners in the cluster
        cluster: {circuit_breakers: ...}          # merged into the Envoy cluster
        tls: true                                 # it is `messenger` and asks who calls
    clusters: {dead: refused, none: empty}        # nobody listens there; no endpoint at all
    downstream_tls: {...}         # a DownstreamTlsContext; `{pki}` in any text is the folder of
                                  # root.pem and the names of `tests.differential.pki`
    hcm: {...}                    # merged into the HttpConnectionManager
    route_config: {...}           # merged into the RouteConfiguration
    virtual_hosts: [...]          # or one virtual host for `*`:
    virtual_host: {...}           # merged into it
    routes: [...]                 # default: prefix / to cluster a
    connections: [...]            # see `Conversation`; each is a downstream connection, in order
    stats: [cluster.a.upstream_rq_retry]          # must be there and equal
    expect: ["503 UF"]            # Envoy's access log: the scenario shows what it means to show

Knows no proxy: `bootstrap` is the same for both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.client import chunked_body
from tests.support.http1 import Headers
from tests.support.upstream import Answer

FOLDER = Path(__file__).with_name("scenarios")
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
LOG_FIELDS = {
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
}
Yaml = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of a request and what is needed to read its response."""

    method: str
    head: bytes
    body: bytes = b""
    wait_continue: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """One downstream connection.

    requests: 'GET /path' or {method, path, version, headers, body, body_bytes, chunks, trailers,
    expect_continue}. Alone, a request is a whole conversation. `raw` sends bytes as they are and
    waits for `responses` answers. `pipelined` sends all at once. `closes` waits for the proxy to
    close and compares whether it did. `background` goes on when the upstream has the request.
    `hang_up` closes when the upstream has the request, without waiting for an answer. `tls` is
    the certificate to show, or `none`. `until` waits first for statistics to have these values:
    what a proxy does off the request's way (ejecting a host) takes its time.
    """

    requests: tuple[Request, ...] = ()
    raw: bytes = b""
    responses: int = 1
    pipelined: bool = False
    closes: bool = False
    background: bool = False
    hang_up: bool = False
    tls: str = ""
    until: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamPlan:
    answers: tuple[Answer, ...]
    hosts: int
    cluster: Yaml
    tls: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    about: str
    upstreams: Mapping[str, UpstreamPlan]
    clusters: Mapping[str, str]
    yaml: Yaml = field(repr=False)
    conversations: tuple[Conversation, ...] = ()
    stats: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()


FIELDS = frozenset(
    {"about", "upstreams", "clusters", "connections", "stats", "expect"}
    | {"downstream_tls", "hcm", "route_config", "virtual_hosts", "virtual_host", "routes"}
)


def names() -> list[str]:
    """All scenarios of the folder."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Scenario:
    """ValueError for a field that does not exist: a misspelt scenario judges nothing."""
    data: Yaml = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    if unknown := set(data) - FIELDS:
        raise ValueError(f"{name}.yaml: unknown fields {sorted(unknown)}")
    plans = data.get("upstreams", {"a": {}})
    return Scenario(
        name=name,
        about=data["about"],
        upstreams={key: _upstream(plan or {}) for key, plan in plans.items()},
        clusters=data.get("clusters", {}),
        yaml=data,
        conversations=tuple(_conversation(item) for item in data["connections"]),
        stats=tuple(data.get("stats", ())),
        expect=tuple(data["expect"]),
    )


def _upstream(plan: Yaml) -> UpstreamPlan:
    answers = plan.get("answers", [{}])
    return UpstreamPlan(
        answers=tuple(_answer(answer or {}) for answer in answers),
        hosts=plan.get("hosts", 1),
        cluster=plan.get("cluster", {}),
        tls=plan.get("tls", False),
    )


def _answer(plan: Yaml) -> Answer:
    fields = dict(plan)
    if size := fields.pop("body_bytes", 0):
        fields["body"] = pattern(size)
    for key in ("body", "raw", "interim"):
        if isinstance(fields.get(key), str):
            fields[key] = fields[key].encode("latin-1")
    for key in ("headers", "trailers"):
        if key in fields:
            fields[key] = _headers(fields[key])
    if "chunks" in fields:
        fields["chunks"] = [chunk.encode("latin-1") for chunk in fields["chunks"]]
    return Answer(**fields)


def pattern(size: int) -> bytes:
    """`size` bytes that show where one is missing."""
    line = b"".join(b"%07d\n" % number for number in range(1024))
    return (line * (size // len(line) + 1))[:size]


# --------------------------------------------------------------------------- who asks


def _conversation(item: str | Yaml) -> Conversation:
    if isinstance(item, str):
        return Conversation((_request(item),))
    options = {key: value for key, value in item.items() if key in Conversation.__slots__}
    if "raw" in options:
        options["raw"] = options["raw"].encode("latin-1")
        return Conversation(**options)
    if "requests" in options:
        options["requests"] = tuple(_request(request) for request in options["requests"])
        return Conversation(**options)
    request = {key: value for key, value in item.items() if key not in options}
    return Conversation((_request(request),), **options)


def _request(item: str | Yaml) -> Request:
    if isinstance(item, str):
        method, path = item.split(" ")
        item = {"method": method, "path": path}
    return _built(item)


def _built(plan: Yaml) -> Request:
    method = plan.get("method", "GET")
    headers = _headers({"host": "weft.test", **plan.get("headers", {})})
    body = plan.get("body", "").encode("latin-1") or pattern(plan.get("body_bytes", 0))
    if "chunks" in plan:
        headers.append(("transfer-encoding", "chunked"))
        chunks = [chunk.encode("latin-1") for chunk in plan["chunks"]]
        body = chunked_body(chunks, _headers(plan.get("trailers", {})))
    elif body:
        headers.append(("content-length", str(len(body))))
    wait = bool(plan.get("expect_continue"))
    if wait:
        headers.append(("expect", "100-continue"))
    start = f"{method} {plan.get('path', '/')} HTTP/{plan.get('version', '1.1')}"
    lines = [start, *(f"{name}: {value}" for name, value in headers), "", ""]
    return Request(method, "\r\n".join(lines).encode("latin-1"), body, wait)


def _headers(plan: Yaml) -> Headers:
    """{name: value}; the value may be a list, {bytes: N} a long one, {count: N} many of them;
    null leaves the header out."""
    found: Headers = []
    for name, value in plan.items():
        found += [(name, str(each)) for each in _values(value) if each is not None]
    return found


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return ["x" * value["bytes"]] if "bytes" in value else list(range(value["count"]))
    return value if isinstance(value, list) else [value]


# --------------------------------------------------------------------------- the configuration


def bootstrap(
    scenario: Scenario, port: int, hosts: Mapping[str, list[int]], log: Path, pki: Path
) -> Yaml:
    """Envoy v3, listening on `port`; `hosts` are the ports of each cluster's endpoints."""
    network = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": _manager(scenario, log),
    }
    chain: Yaml = {"filters": [network]}
    if tls := scenario.yaml.get("downstream_tls"):
        config = {"@type": f"type.googleapis.com/{DOWNSTREAM_TLS}", **tls}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": config}
    listener = {"name": "test", "address": _address(port), "filter_chains": [chain]}
    clusters = [_cluster(scenario, name, ports) for name, ports in hosts.items()]
    text = json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}})
    made: Yaml = json.loads(text.replace("{pki}", str(pki)))
    return made


def _manager(scenario: Scenario, log: Path) -> Yaml:
    line = " ".join(f"{name}={operator}" for name, operator in LOG_FIELDS.items()) + "\n"
    config = {
        "@type": f"type.googleapis.com/{FILE_LOG}",
        "path": str(log),
        "log_format": {"text_format_source": {"inline_string": line}},
    }
    router = {"@type": f"type.googleapis.com/{ROUTER}"}
    return {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": "test",
        "delayed_close_timeout": "0.1s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": config}],
        "route_config": _routes(scenario.yaml),
        **scenario.yaml.get("hcm", {}),
    }


def _routes(plan: Yaml) -> Yaml:
    everything = [{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]
    one = {"name": "all", "domains": ["*"], "routes": plan.get("routes", everything)}
    hosts = plan.get("virtual_hosts", [{**one, **plan.get("virtual_host", {})}])
    return {"name": "routes", "virtual_hosts": hosts, **plan.get("route_config", {})}


def _cluster(scenario: Scenario, name: str, ports: list[int]) -> Yaml:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    plan = scenario.upstreams.get(name)
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
        },
        **(plan.cluster if plan else {}),
    }


def _address(port: int) -> Yaml:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
