"""Connections that network filters judge, through Envoy and through Weft: what client and server
see, what the access log, the statistics and the authorization service say."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.authz_server import DENIED, OK, AuthzServer
from tests.support.envoy import envoy, require_envoy
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.raw_tcp import (
    TYPES,
    TcpServer,
    address,
    dial,
    file_log,
    read_to_end,
    static,
    tcp_cluster,
    tcp_listener,
)
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

LINE = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% "
    "%DYNAMIC_METADATA(envoy.filters.network.rbac)%\n"
)
NETWORK = TYPES + "filters.network."
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
OPTIONS: dict[str, Any] = {
    "@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions",
    "explicit_http_config": {"http2_protocol_options": {}},
}
Yaml = dict[str, Any]


def rbac(**fields: Any) -> Yaml:
    config = {"@type": f"{NETWORK}rbac.v3.RBAC", "stat_prefix": "STAT.", **fields}
    return {"name": "envoy.filters.network.rbac", "typed_config": config}


def rules(action: str, name: str = "some policy", port: int = 0) -> Yaml:
    """Whoever comes, or whoever comes to `port`."""
    permission = {"destination_port": port} if port else {"any": True}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    return {"action": action, "policies": {name: policy}}


def matcher(action: str, network: str) -> Yaml:
    """Whoever comes from `network`; all others are denied."""
    own = "type.googleapis.com/envoy.config.rbac.v3.Action"
    typed = {"@type": own, "name": "by address", "action": action}
    taken = {"cidr_ranges": [{"address_prefix": network, "prefix_len": 8}], "stat_prefix": "s"}
    single = {
        "input": _typed("ip", f"{TYPES}matching.common_inputs.network.v3.SourceIPInput"),
        "custom_match": _typed("ip", f"{TYPES}matching.input_matchers.ip.v3.Ip", **taken),
    }
    rule = {
        "predicate": {"single_predicate": single},
        "on_match": {"action": {"name": "a", "typed_config": typed}},
    }
    return {"matcher_list": {"matchers": [rule]}}


def _typed(name: str, kind: str, **fields: Any) -> Yaml:
    return {"name": name, "typed_config": {"@type": kind, **fields}}


def ext_authz(cluster: str = "authz", **fields: Any) -> Yaml:
    service = {"envoy_grpc": {"cluster_name": cluster}, "timeout": "1s"}
    config = {
        "@type": f"{NETWORK}ext_authz.v3.ExtAuthz",
        "stat_prefix": "STAT",
        "transport_api_version": "V3",
        "grpc_service": service,
        **fields,
    }
    return {"name": "envoy.filters.network.ext_authz", "typed_config": config}


ENABLED = {
    "filter": "envoy.filters.network.rbac",
    "path": [{"key": "x_shadow_effective_policy_id"}],
    "value": {"string_match": {"prefix": "ask"}},
}
SHADOW = {"shadow_rules_stat_prefix": "x_"}


@dataclass(frozen=True)
class Case:
    name: str
    guards: tuple[Yaml, ...]
    answer: Yaml = field(default_factory=lambda: OK)
    http: bool = False


CASES = (
    Case("denied", (rbac(rules=rules("DENY")),)),
    Case("allowed", (rbac(rules=rules("ALLOW")),)),
    Case("no_policy", (rbac(rules=rules("ALLOW", port=1)),)),
    Case("no_rules", (rbac(),)),
    Case("logged", (rbac(rules=rules("LOG")),)),
    Case("shadow", (rbac(shadow_rules=rules("DENY", "sh"), rules=rules("ALLOW"), **SHADOW),)),
    Case("late", (rbac(rules=rules("DENY"), delay_deny="0.2s"),)),
    Case("matched", (rbac(matcher=matcher("ALLOW", "127.0.0.0")),)),
    Case("matched_denied", (rbac(matcher=matcher("DENY", "127.0.0.0")),)),
    Case("matched_none", (rbac(matcher=matcher("ALLOW", "10.0.0.0")),)),
    Case("asked", (ext_authz(),)),
    Case("refused", (ext_authz(),), DENIED),
    Case("broken", (ext_authz(),), {"abort": "INTERNAL"}),
    Case("broken_open", (ext_authz(failure_mode_allow=True),), {"abort": "INTERNAL"}),
    Case("nobody", (ext_authz("dead"),)),
    Case(
        "custom",
        (
            rbac(shadow_rules=rules("DENY", "ask them"), **SHADOW),
            ext_authz(
                filter_enabled_metadata=ENABLED,
                metadata_context_namespaces=["envoy.filters.network.rbac"],
            ),
        ),
        DENIED,
    ),
    Case(
        "not_custom",
        (
            rbac(shadow_rules=rules("DENY", "other"), **SHADOW),
            ext_authz(filter_enabled_metadata=ENABLED),
        ),
        DENIED,
    ),
    Case("http_denied", (rbac(rules=rules("DENY")),), http=True),
    Case("http_allowed", (rbac(rules=rules("ALLOW")), ext_authz()), http=True),
    Case("http_refused", (ext_authz(),), DENIED, http=True),
)


def greet(sock: socket.socket) -> None:
    sock.sendall(b"hello ")
    sock.sendall(b"got " + sock.recv(100))


def say(port: int) -> bytes:
    """After the server's greeting."""
    with dial(port) as sock:
        heard = sock.recv(6)
        sock.sendall(b"abc")
        return heard + read_to_end(sock)


def end(port: int) -> bytes:
    """Says nothing at all."""
    with dial(port) as sock:
        heard = sock.recv(6)
        sock.shutdown(socket.SHUT_WR)
        return heard + read_to_end(sock).removeprefix(b"got ")


def ask_http(port: int) -> bytes:
    with dial(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        return read_to_end(sock)[:15]


@dataclass
class Seen:
    heard: tuple[bytes, ...]
    lines: list[str]
    counted: dict[str, int]
    asked: list[Yaml]


def listener(case: Case, port: int, log: Path) -> Yaml:
    guards = [_named(guard, case.name) for guard in case.guards]
    if not case.http:
        made = tcp_listener(case.name, port, "up", access_log=[file_log(log, LINE)])
        made["filter_chains"][0]["filters"][:0] = guards
        return made
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{NETWORK}http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": case.name,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "r", "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [*guards, {"name": "hcm", "typed_config": manager}]}
    return {"name": case.name, "address": address(port), "filter_chains": [chain]}


def _named(guard: Yaml, name: str) -> Yaml:
    config = guard["typed_config"]
    prefix = config["stat_prefix"].replace("STAT", name)
    return {**guard, "typed_config": {**config, "stat_prefix": prefix}}


def converse(start: Callable[..., ProxyProcess], directory: Path) -> dict[str, Seen]:
    with ExitStack() as stack:
        reservation = stack.enter_context(Reservation())
        ports = {case.name: reservation.port() for case in CASES}
        server = stack.enter_context(TcpServer(greet))
        authz = stack.enter_context(AuthzServer())
        http2 = {"typed_extension_protocol_options": {HTTP2: OPTIONS}}
        clusters = [
            tcp_cluster("up", [server.port]),
            tcp_cluster("authz", [authz.port], **http2),
            tcp_cluster("dead", [reservation.port()], **http2),
        ]
        listeners = [listener(one, ports[one.name], directory / one.name) for one in CASES]
        proxy = stack.enter_context(start(static(listeners, clusters), directory))
        heard = {one.name: hear(one, ports[one.name], authz) for one in CASES}
        return {one.name: see(one, *heard[one.name], proxy, directory) for one in CASES}


def hear(case: Case, port: int, authz: AuthzServer) -> tuple[tuple[bytes, ...], list[Yaml]]:
    """What the client hears, and what the service is asked."""
    authz.answer, before = case.answer, len(authz.asked)
    heard = (ask_http(port),) if case.http else (say(port), end(port))
    return heard, [_steady(each) for each in authz.asked[before:]]


def see(
    case: Case, heard: tuple[bytes, ...], asked: list[Yaml], proxy: ProxyProcess, directory: Path
) -> Seen:
    log = directory / case.name

    def lines() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    if not case.http:
        eventually(lambda: len(lines()) >= 2, what=f"two lines of {case.name}")
    counted = {
        # Envoy counts a connection that is not asked about with every piece that it reads.
        name: min(value, 2) if name.endswith(".disabled") else value
        for name, value in proxy.stats().items()
        if value and (name.startswith((f"{case.name}.rbac", f"ext_authz.{case.name}.")))
    }
    return Seen(heard, lines(), counted, asked)


def _steady(asked: Yaml) -> Yaml:
    for side in ("source", "destination"):
        assert asked["attributes"][side]["address"]["socketAddress"].pop("portValue")
    return asked


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Seen, Seen]]:
    """By case: what was seen of Envoy, and of Weft."""
    require_envoy()
    by_envoy = converse(envoy, tmp_path_factory.mktemp("envoy"))
    by_weft = converse(weft_proxy, tmp_path_factory.mktemp("weft"))
    return {name: (by_envoy[name], by_weft[name]) for name in by_envoy}


@pytest.mark.parametrize("name", [one.name for one in CASES])
def test_both_judge_alike(seen: dict[str, tuple[Seen, Seen]], name: str) -> None:
    by_envoy, by_weft = seen[name]
    assert by_weft.heard == by_envoy.heard
    assert by_weft.lines == by_envoy.lines
    assert by_weft.counted == by_envoy.counted
    assert by_weft.asked == by_envoy.asked
