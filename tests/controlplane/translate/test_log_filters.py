"""Expressions of access logs: ours take the same requests as a real Envoy's CEL."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from controlplane.emit.access_logs import envoy_logs
from controlplane.mesh.telemetry import ALWAYS, NEVER, AccessLog, Compared, HeaderTest
from controlplane.translate.log_filters import MAX_DEPTH, NoFilter, parse
from tests.support.envoy import envoy
from tests.support.ports import free_port

EXPRESSIONS = [
    "response.code >= 400",
    "response.code > 403 && response.code <= 500",
    "500 > response.code",
    "response.code != 200",
    "!(response.code == 200 || response.code == 404)",
    "has(response.code)",
    "request.headers['x-a'] == 'yes'",
    'request.headers["x-a"] != "yes"',
    "!(request.headers['x-a'] == 'yes')",
    "'x-a' in request.headers",
    "!('x-a' in request.headers) && response.code < 404",
    "request.headers['x-a'].startsWith('n')",
    "!request.headers['x-a'].endsWith('o.')",
    "request.headers['x-a'].matches('^n.*\\\\.$') || request.headers['x-a'].contains('e')",
    "request.url_path == '/s/200'",
    "request.url_path != '/s/200'",
    "request.url_path.startsWith('/s/4')",
    "request.url_path.endsWith('00')",
    "request.url_path.contains('q')",
    "request.path.contains('q')",
    "request.path == '/s/200?q=00'",
    "request.method == 'POST' || request.host == 'b.test'",
    "request.useragent.contains('curl') && request.duration < duration('1h')",
    "request.duration >= duration('1h')",
    "has(request.useragent)",
    "true",
    "!true || response.code == 503",
]
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/s/200", {}),
    ("GET", "/s/200?q=00", {"x-a": "yes"}),
    ("POST", "/s/200?q=1", {"x-a": "no."}),
    ("GET", "/s/404", {"x-a": "n", "user-agent": "curl/8"}),
    ("GET", "/s/403/q", {"host": "b.test"}),
    ("GET", "/s/500", {"x-a": ""}),
    ("GET", "/s/503?q", {"user-agent": "curl"}),
]
CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
HTTP = "type.googleapis.com/envoy.extensions.filters"


def log_to(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    line = {"text_format_source": {"inline_string": "%REQ(:METHOD)% %REQ(:PATH)%\n"}}
    config = {"@type": FILE, "path": str(path), "log_format": line}
    return {"name": "log", "typed_config": config, "filter": wanted}


def ours(expression: str) -> dict[str, Any]:
    (log,) = envoy_logs((AccessLog(wanted=parse(expression)),), guarded=False)
    found: dict[str, dict[str, Any]] = MessageToDict(log, preserving_proto_field_name=True)
    return found.get("filter", {})


def listening(port: int, directory: Path) -> dict[str, Any]:
    """Two logs for each expression."""
    logs = []
    for number, expression in enumerate(EXPRESSIONS):
        cel = {"@type": CEL, "expression": expression}
        asked = {"extension_filter": {"name": "cel", "typed_config": cel}}
        logs.append(log_to(directory / f"cel-{number}", asked))
        wanted = ours(expression)
        logs.append(log_to(directory / f"ours-{number}", wanted))
        if not wanted:
            del logs[-1]["filter"]
    codes = sorted({target[3:6] for _, target, _ in REQUESTS})
    routes = [
        {"match": {"prefix": f"/s/{code}"}, "direct_response": {"status": int(code)}}
        for code in codes
    ]
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "access_log": logs,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "r", "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"}}],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    listener = {"name": "l", "address": address, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener]}}


def test_envoys_cel_takes_the_same_requests(tmp_path: Path) -> None:
    port = free_port()
    with envoy(listening(port, tmp_path), tmp_path):
        for method, target, headers in REQUESTS:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(method, target, headers=headers)
            assert connection.getresponse().status == int(target[3:6])
            connection.close()
    taken = {}
    for number, expression in enumerate(EXPRESSIONS):
        cel, own = ((tmp_path / f"{who}-{number}").read_text() for who in ("cel", "ours"))
        taken[expression] = cel
        assert own == cel, expression
    assert len(set(taken.values())) > 15


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("connection.mtls", "asks for 'connection.mtls'"),
        ("response.code", "where a comparison should be"),
        ("response.code == 'a'", "is a number"),
        ("request.method > 'a'", "only for numbers"),
        ("request.method == 4", "is a text"),
        ("request.method.size('a') == 1", "function 'size'"),
        ("request.url_path.matches('a')", "function 'matches'"),
        ("request.headers['a'].matches('(?=a)')", "look-around"),
        ("request.duration > duration('a')", "the duration 'a'"),
        ("response.code >= 99999999999", "too large"),
        ("response.code == 1 response.code", "where it should end"),
        ("(response.code == 1", "where ')' should be"),
        ("", "asks for 'nothing'"),
        ("response.code ~ 1", "can't be read"),
        (r"request.method == '\x'", "escape"),
        ("!" + "(" * (MAX_DEPTH + 2), "nested deeper"),
        ("true ||" * 4096, "is longer"),
        ("has(", "asks for 'nothing'"),
    ],
)
def test_what_no_test_speaks_of_is_refused_by_name(expression: str, says: str) -> None:
    with pytest.raises(NoFilter) as refused:
        parse(expression)
    assert says in str(refused.value)


def test_what_is_always_or_never_so_asks_nothing() -> None:
    assert parse("true || response.code == 1") == ALWAYS
    assert parse("false && response.code == 1") == NEVER
    assert parse("response.code < 0") == NEVER
    assert parse("false || response.code == 1") == Compared("status", "EQ", 1)
    assert parse("!!('X-A' in request.headers)") == HeaderTest("x-a")
    assert envoy_logs((AccessLog(wanted=NEVER),), guarded=False) == []
