"""A scenario: one YAML file that says what stands behind the proxy, how it is set, and who asks.

    about: one sentence
    upstreams:                    # name -> what answers; a cluster of that name (default: a)
      a:
        answers: [{status: 200, body: hello}]     # fields of `tests.support.upstream.Answer`;
                                  # also body_bytes: N, grpc: [message, ...] with grpc_status: 0,
                                  # check: {...}, a CheckResponse of an authorization service
        hosts: 1                  # so many listeners in the cluster, or:
        endpoints: [{weight: 2, metadata: {envoy.lb: {v: one}}, locality: {zone: z},
                     locality_weight: 1, priority: 0, health_status: UNHEALTHY, hostname: h,
                     health_check_config: {...}, answers: [...]}]     # one listener each
        answer_each: true         # each host answers its number and nothing else: `0`, `1` ...
        cluster: {circuit_breakers: ...}          # merged into the Envoy cluster
        http2: true               # prior knowledge, over TLS ALPN h2; settings: {NAME: value}
        tls: true                 # it is `messenger` and asks who calls
        health: [{status: 200}]   # answers of GET /healthz and of gRPC's health service
        proxy_protocol: true      # connections begin with a PROXY header, which is compared
        connections: true         # compare how many connections there were
        seen: set                 # which host got what: `exact`, `set` (default for several
                                  # hosts), `spread` (requests of each host, see tolerance), `none`
        tolerance: 0.1            # of a spread: so much of all requests may be elsewhere
    clusters:                     # without a listener of ours
      dead: refused               # nobody listens there
      none: empty                 # no endpoint at all
      all: {cluster_type: ...}    # any Cluster; `name` and connect_timeout are added
    downstream_tls: {...}         # a DownstreamTlsContext
    hcm: {...}                    # merged into the HttpConnectionManager
    http_filters: [...]           # before the router, which is always the last
    router: {...}                 # fields of the Router
    route_config: {...}           # merged into the RouteConfiguration
    virtual_hosts: [...]          # or one virtual host for `*`:
    virtual_host: {...}           # merged into it
    routes: [...]                 # default: prefix / to cluster a
    filter_chain: {...}           # merged into the listener's only FilterChain
    listener: {...}               # merged into the Listener
    bootstrap: {...}              # merged into the Bootstrap, lists joined; such a scenario shares
                                  # its processes only with scenarios of the same fragment
    alone: true                   # processes of its own, nothing is renamed (see below)
    files: {eds.yaml: {...}}      # written to `{folder}` before the proxy starts (text or YAML)
    log: [text %REQ(X)%, {json: "%METHOD%"}, {...AccessLog...}]  # access logs of the scenario's
                                  # own: a text format, a JSON format, or with `@type` inside any
                                  # AccessLog that writes to `{log}`; compared line by line
    steady: {"regex": word}       # what differs by nature: replaced in every text that is compared
    connections: [...]            # see `Conversation`; each is a downstream connection, in order
    stats: [cluster.a.upstream_rq_retry]          # must be there and equal
    expect: ["503 UF"]            # Envoy's access log: the scenario shows what it means to show

In any text `{pki}` is the folder of root.pem and the names of `tests.differential.pki`, `{folder}`
the scenario's own, `{port}` the listener's port, `{port:a.0}` that of the first host of `a`, and
`{cluster:a}` the name of cluster `a` (as in a header for `cluster_header`), `{base64:TEXT}` what it
says. Many scenarios share one pair of processes: there each has its own listener, and its clusters
(where `cluster`, `cluster_name`, `clusters`, `weighted_clusters` name them) and the stat_prefix
`test` carry the scenario's name, which is taken away again from all that is compared.

Knows no proxy: what `tests.differential.configure` makes of it is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.differential.requests import (
    Request,
    check_response,
    headers_of,
    message_of,
    pattern,
    read_request,
)
from tests.support.upstream import Answer

FOLDER = Path(__file__).with_name("scenarios")
LogOrder = Literal["exact", "any", "set"]
Yaml = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One downstream connection.

    requests: 'GET /path' or the fields of `tests.differential.requests.Request`. Alone, a request
    is a whole conversation. `raw` sends bytes as they are and waits for `responses` answers.
    `pipelined` sends all at once (over HTTP/2: all streams at the same time, so that the lines of
    the log come in any order). `closes` waits for
    the proxy to close and compares whether it did; `closes: how` also tells fin from reset.
    `background` goes on when the upstream has the request. `hang_up` closes when the upstream has
    the request, without waiting for an answer. `tls` is the certificate to show, or `none`;
    `alpn` a list of protocols, `sni` a name. `http2` speaks it by prior knowledge or, with `tls`,
    by ALPN, and first sends `settings` ({INITIAL_WINDOW_SIZE: 10}); `frames` is in
    `tests.differential.frames`. `source` is the client's address (127.0.0.2), `first` bytes that
    go before everything (a PROXY header). `until` waits first for statistics to have these values:
    what a proxy does off the request's way (ejecting a host) takes its time. `after_s` waits first
    so long, `hold` keeps the connection open until the end of the scenario. `together` is a list
    of conversations that go on at the same time.
    """

    requests: tuple[Request, ...] = ()
    raw: bytes = b""
    responses: int = 1
    pipelined: bool = False
    closes: bool | str = False
    background: bool = False
    hang_up: bool = False
    tls: str = ""
    alpn: Sequence[str] = ()
    sni: str = ""
    http2: bool = False
    settings: Mapping[str, int] = field(default_factory=dict)
    frames: Sequence[Yaml] = ()
    source: str = "127.0.0.1"
    first: bytes = b""
    until: Mapping[str, int] = field(default_factory=dict)
    after_s: float = 0.0
    hold: bool = False
    together: tuple[Conversation, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamPlan:
    """`answers` of each host; `endpoints` what the configuration says of it."""

    answers: tuple[tuple[Answer, ...], ...] = ()
    endpoints: tuple[Yaml, ...] = ()
    cluster: Yaml = field(default_factory=dict)
    tls: bool = False
    http2: bool = False
    settings: Mapping[str, int] = field(default_factory=dict)
    health: tuple[Answer, ...] = ()
    proxy_protocol: bool = False
    connections: bool = False
    seen: str = "exact"
    tolerance: float = 0.1


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    about: str
    area: str
    upstreams: Mapping[str, UpstreamPlan]
    clusters: Mapping[str, str | Yaml]
    yaml: Yaml = field(repr=False)
    conversations: tuple[Conversation, ...] = ()
    stats: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    alone: bool = False

    @property
    def repeats(self) -> bool:
        """Whether chance is compared: then the log is a set and most statistics say nothing."""
        return any(
            request.repeat
            for conversation in self.conversations
            for one in (conversation, *conversation.together)
            for request in one.requests
        )

    @property
    def log_order(self) -> LogOrder:
        """Streams of one connection end as they happen to."""
        side_by_side = any(one.http2 and one.pipelined for one in self.conversations)
        return "set" if self.repeats else "any" if side_by_side else "exact"


FIELDS = frozenset(
    {"about", "upstreams", "clusters", "connections", "stats", "expect", "alone", "files", "log"}
    | {"downstream_tls", "hcm", "route_config", "virtual_hosts", "virtual_host", "routes"}
    | {"listener", "bootstrap", "http_filters", "router", "filter_chain", "steady"}
)
UPSTREAM_FIELDS = frozenset(
    {"answers", "hosts", "endpoints", "answer_each", "cluster", "http2", "settings", "tls"}
    | {"health", "proxy_protocol", "connections", "seen", "tolerance"}
)


def names(area: str = "") -> list[str]:
    """All scenarios, or those of one area; ValueError when two have the same name."""
    paths = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (path.parent.name, path.stem))
    found = [path.stem for path in paths if area in ("", _area(path))]
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise ValueError(f"two scenarios of one name: {twice}")
    return found


def load(name: str) -> Scenario:
    """ValueError for a field that does not exist: a misspelt scenario judges nothing."""
    path = next(iter(FOLDER.rglob(f"{name}.yaml")), None)
    if path is None:
        raise ValueError(f"no scenario {name}")
    return read(name, _area(path), path.read_text("utf-8"))


def read(name: str, area: str, text: str) -> Scenario:
    """The scenario of a YAML text."""
    return build(name, area, yaml.load(text, yaml.CSafeLoader))


def build(name: str, area: str, data: Yaml) -> Scenario:
    """The scenario of a mapping."""
    _check(f"{name}.yaml", data, FIELDS)
    plans = data.get("upstreams", {"a": {}})
    conversations = tuple(_conversation(item) for item in data["connections"])
    stat_prefix = "stat_prefix" in data.get("hcm", {})
    return Scenario(
        name=name,
        about=data["about"],
        area=area,
        upstreams={key: _upstream(key, plan or {}) for key, plan in plans.items()},
        clusters=data.get("clusters", {}),
        yaml=data,
        conversations=conversations,
        stats=tuple(data.get("stats", ())),
        expect=tuple(data["expect"]),
        alone=data.get("alone", False) or stat_prefix,
    )


def _area(path: Path) -> str:
    return "" if path.parent == FOLDER else path.parent.name


def _check(where: str, data: Yaml, fields: frozenset[str]) -> None:
    if unknown := set(data) - fields:
        raise ValueError(f"{where}: unknown fields {sorted(unknown)}")


def _upstream(name: str, plan: Yaml) -> UpstreamPlan:
    _check(f"upstream {name}", plan, UPSTREAM_FIELDS)
    endpoints = tuple(plan.get("endpoints") or [{}] * plan.get("hosts", 1))
    answers = [each.get("answers", plan.get("answers", [{}])) for each in endpoints]
    if plan.get("answer_each"):
        answers = [[{"body": str(number)}] for number in range(len(endpoints))]
    http2 = bool(plan.get("http2"))
    return UpstreamPlan(
        answers=tuple(tuple(_answer(one or {}) for one in each) for each in answers),
        endpoints=endpoints,
        cluster=plan.get("cluster", {}),
        tls=plan.get("tls", False),
        http2=http2,
        settings=plan.get("settings", {}),
        health=tuple(_answer(one or {}) for one in plan.get("health", ())),
        proxy_protocol=plan.get("proxy_protocol", False),
        connections=plan.get("connections", False),
        seen=plan.get("seen", "exact" if len(endpoints) == 1 else "set"),
        tolerance=plan.get("tolerance", 0.1),
    )


def _answer(plan: Yaml) -> Answer:
    plan = dict(plan)
    headers = headers_of(plan.pop("headers", {}))
    trailers = headers_of(plan.pop("trailers", {}))
    if "check" in plan:
        plan["grpc"] = [check_response(plan.pop("check"))]
    if "grpc" in plan:
        headers.insert(0, ("content-type", "application/grpc"))
        plan["chunks"] = [message_of(text) for text in plan.pop("grpc")]
        trailers.insert(0, ("grpc-status", str(plan.pop("grpc_status", 0))))
    if size := plan.pop("body_bytes", 0):
        plan["body"] = pattern(size)
    for key in ("body", "raw", "interim", "tunnel"):
        if isinstance(plan.get(key), str):
            plan[key] = plan[key].encode("latin-1")
    if "chunks" in plan:
        plan["chunks"] = [_bytes(chunk) for chunk in plan["chunks"]]
    return Answer(headers=headers, trailers=trailers, **plan)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


# --------------------------------------------------------------------------- who asks


def _conversation(item: str | Yaml) -> Conversation:
    if isinstance(item, str):
        return Conversation((read_request(item),))
    options = {key: value for key, value in item.items() if key in Conversation.__slots__}
    rest = {key: value for key, value in item.items() if key not in options}
    for key in ("raw", "first"):
        if key in options:
            options[key] = options[key].encode("latin-1")
    if "together" in options:
        options["together"] = tuple(_conversation(each) for each in options["together"])
    if "requests" in options:
        options["requests"] = tuple(read_request(request) for request in options["requests"])
    elif not options.keys() & {"raw", "frames", "together"}:
        return replace(Conversation(**options), requests=(read_request(rest),))
    _check("a connection", rest, frozenset())
    return Conversation(**options)
