"""Requests and connections that are logged over gRPC, one listener each: a bootstrap for both
proxies, and what the service was told.

Times and ids are replaced by what they are, and ports by names in the order in which they turn up,
so that two runs can be compared.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.differential.pki import Pki
from tests.support.collector import Collector
from tests.support.log_server import LogServer
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.wait import eventually

Plain = dict[str, Any]
EXTENSIONS = "type.googleapis.com/envoy.extensions."
LOGGERS = EXTENSIONS + "access_loggers.grpc.v3."
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PORT = re.compile(r'("port_value": |127\.0\.0\.1:)([1-9][0-9]{3,4})\b')
_TIMES = re.compile(r"(start_time|duration|time_to_.*|time_unix_nano)$")
_WIRE = re.compile(r"(up|down)stream_(wire|header)_bytes_")
# Always 0 in Envoy.
_LEFT_OUT = re.compile(r"open_telemetry.*grpc_entries")
# OpenSSL has one where the session is in a ticket, too.
_SESSION = "tls_session_id"


_OF_TLS_13 = range(0x1301, 0x1304)
"""Which one is preferred depends on the library."""


@dataclass(frozen=True)
class Told:
    """A request, or the same over a TCP proxy, and what its listener is configured with.

    entries: how many are told. common: of the log's configuration; log: beside that. tls: the
    version, where the client shows a certificate. raw: bytes instead of a request. sized: the
    headers of the answer are as long by both proxies: not by time, nor by `content-length: 0` and
    `connection: close`, which are headers for one of them and framing for the other."""

    name: str
    common: Plain = field(default_factory=dict)
    log: Plain = field(default_factory=dict)
    kind: str = "http"
    tcp: bool = False
    route: Plain = field(default_factory=dict)
    manager: Plain = field(default_factory=dict)
    filters: tuple[Plain, ...] = ()
    wants: Plain = field(default_factory=dict)
    cluster: str = "up"
    listener: bool = False
    tls: str = ""
    sized: bool = True
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes = b""
    entries: int = 1


def outcomes(
    cases: Sequence[Told], start: Callable[[Plain, Path], ProxyProcess], folder: Path
) -> dict[str, Any]:
    """The entries, by the names of the cases; `statistics` beside them."""
    pki = Pki(folder)
    with Collector() as upstream, LogServer() as logs, Reservation() as ports:
        listeners = [(case, ports.port()) for case in cases]
        with start(_bootstrap(upstream, logs, listeners, folder), folder) as proxy:
            found: dict[str, Any] = {}
            for case, port in listeners:
                found[case.name] = _outcome(case, port, upstream, logs, pki)
            stats = proxy.stats()
        found["statistics"] = {
            name: stats[name]
            for name in stats
            if name.startswith("access_logs.") and not _LEFT_OUT.search(name)
        }
        return found


def _outcome(case: Told, port: int, upstream: Collector, logs: LogServer, pki: Pki) -> Any:
    upstream.answer = dict(case.answer)
    if case.raw:
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(case.raw)
            while client.recv(65536):
                pass
    else:
        _ask(case, port, pki)

    def told() -> list[Plain]:
        return [one for one in logs.entries() if one["log"] == case.name]

    eventually(lambda: len(told()) >= case.entries, what=case.name)
    return _named(told(), case)


def _ask(case: Told, port: int, pki: Pki) -> None:
    client: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if case.tls:
        context = pki.client("greeter")
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    with closing(client):
        headers = {"host": "h.example", **case.headers}
        try:
            client.request(case.method, "/a?b=c", case.body or None, headers)
            client.getresponse().read()
        except (http.client.HTTPException, OSError):
            pass  # what becomes of it is in the log


def _named(entries: list[Plain], case: Told) -> Any:
    names: dict[str, str] = {}
    shown = [_shown(entry) for entry in entries]
    for entry in shown:
        if not case.sized:
            entry["response"].pop("response_headers_bytes")
        if case.listener:  # whose bytes nobody counts here
            entry.pop("connection_properties")
    text = json.dumps(shown, sort_keys=True)
    text = _UUID.sub("uuid", text)

    def name(one: re.Match[str]) -> str:
        known = names.setdefault(one[2], f"port{len(names)}")
        return one[1] + (f'"{known}"' if one[1].endswith(" ") else known)

    return json.loads(_PORT.sub(name, text))


def _shown(value: Any, over_http: bool | None = None) -> Any:
    if not isinstance(value, dict):
        return value
    if over_http is None:
        common = value.get("common_properties", {})
        over_http = common.get("access_log_type", "").startswith("Downstream")
    shown: Plain = {}
    for name, each in value.items():
        if name == "tls_cipher_suite" and each in _OF_TLS_13:
            shown[name] = "one"
        elif _TIMES.match(name):
            shown[name] = "a time"
        elif name != _SESSION and not (over_http and _is_unknown(name, each)):
            shown[name] = _shown(each, over_http)
    return shown


def _is_unknown(name: str, value: Any) -> bool:
    """Nobody counts here what a request takes on the wire. Envoy's fault filter leaves a name for
    metadata, and nothing below it."""
    return bool(_WIRE.match(name)) or value == {"filter_metadata": {"fault": {}}}


# --------------------------------------------------------------------------- configuration


def _bootstrap(
    upstream: Collector, logs: LogServer, listeners: Sequence[tuple[Told, int]], folder: Path
) -> Plain:
    return {
        "node": {"id": "node-1", "cluster": "cl"},
        "static_resources": {
            "listeners": [_listener(case, port, folder) for case, port in listeners],
            "clusters": [
                _cluster("up", upstream.upstream_port),
                {**_cluster("named", upstream.upstream_port), "alt_stat_name": "other"},
                _cluster("dead", 1),
                {**_cluster("nohost", 1), "load_assignment": {"cluster_name": "nohost"}},
                _cluster("logs", logs.port, http2=True),
            ],
        },
    }


def _listener(case: Told, port: int, folder: Path) -> Plain:
    log = _log(case)
    proxy = _tcp(case) if case.tcp else _manager(case)
    listener: Plain = {
        "name": case.name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "f", "typed_config": proxy}]}],
    }
    if case.listener:
        listener["access_log"] = [log]
    else:
        proxy["access_log"] = [log]
    if case.tls:
        listener["filter_chains"][0]["transport_socket"] = _tls(folder, case.tls)
    return listener


def _log(case: Told) -> Plain:
    common = {
        "log_name": case.name,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}},
        "buffer_flush_interval": "0.01s",
        **case.common,
    }
    kind = LOGGERS + f"{case.kind.capitalize()}GrpcAccessLogConfig"
    if case.kind == "otel":
        kind = EXTENSIONS + "access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
    log: Plain = {"name": "l", "typed_config": {"@type": kind, "common_config": common, **case.log}}
    return {**log, "filter": case.wants} if case.wants else log


def _manager(case: Told) -> Plain:
    route = {"name": "rt", "match": {"prefix": "/"}, **case.route}
    if not {"redirect", "direct_response"} & set(route):
        route.setdefault("route", {"cluster": case.cluster})
    host = {"name": "v", "domains": ["*"], "routes": [route]}
    kind = EXTENSIONS + "filters.http.router.v3.Router"
    router = {"@type": kind, "suppress_envoy_headers": case.sized}
    return {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"name": "r", "virtual_hosts": [host]},
        "http_filters": [*case.filters, {"name": "router", "typed_config": router}],
        **case.manager,
    }


def _tcp(case: Told) -> Plain:
    kind = EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy"
    return {"@type": kind, "stat_prefix": "tcp", "cluster": case.cluster, **case.manager}


def _tls(folder: Path, version: str) -> Plain:
    def file(name: str) -> Plain:
        return {"filename": str(folder / name)}

    pair = {"certificate_chain": file("messenger.pem"), "private_key": file("messenger.key")}
    common = {
        "tls_certificates": [pair],
        "validation_context": {"trusted_ca": file("root.pem")},
        "tls_params": {
            "tls_minimum_protocol_version": version,
            "tls_maximum_protocol_version": version,
        },
    }
    kind = EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext"
    typed = {"@type": kind, "common_tls_context": common, "require_client_certificate": True}
    return {"name": "tls", "typed_config": typed}


def _cluster(name: str, port: int, http2: bool = False) -> Plain:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    host = {"endpoint": {"address": address}}
    cluster: Plain = {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }
    if http2:
        options = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
        typed = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {options.rpartition("/")[2]: typed}
    return cluster
