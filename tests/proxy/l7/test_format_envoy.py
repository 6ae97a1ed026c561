"""Envoy 1.40 is asked: which formats it accepts, and what lines it writes for the same facts."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.model import SocketAddress
from proxy.connection import ConnectionInfo
from proxy.http.format_string import BROUGHT, OPERATORS, FormatError, check_format
from proxy.http.message import Request, Response
from proxy.l7.format import DEFAULT_FORMAT, compile_format, compile_json
from proxy.upstream.host import Host
from tests.support.client import Client
from tests.support.envoy import BINARY, envoy, require_envoy
from tests.support.ports import free_port
from tests.support.streams import LoggedStream, Pairs, headers
from tests.support.upstream import Answer, Upstream
from tests.support.wait import eventually_async

_TYPES = "type.googleapis.com/envoy.extensions."


def _logger(path: str, log_format: dict[str, Any]) -> dict[str, Any]:
    config = {
        "@type": _TYPES + "access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": log_format,
    }
    return {"name": "log", "typed_config": config}


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "type": "STATIC", "load_assignment": assignment}


ROUTES = [
    {
        "name": "rewritten",
        "match": {"prefix": "/old"},
        "route": {"cluster": "up", "prefix_rewrite": "/new"},
    },
    {
        "name": "direct",
        "match": {"prefix": "/direct"},
        "direct_response": {"status": 418, "body": {"inline_string": "tea"}},
    },
    {
        "match": {"prefix": "/dead"},
        "route": {
            "cluster": "dead",
            "retry_policy": {"retry_on": "connect-failure", "num_retries": 1},
        },
    },
    {"match": {"prefix": "/up"}, "route": {"cluster": "up"}},
]


def _bootstrap(port: int, upstream_port: int, loggers: list[dict[str, Any]]) -> dict[str, Any]:
    router = {"@type": _TYPES + "filters.http.router.v3.Router"}
    manager = {
        "@type": _TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "access_log": loggers,
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": ROUTES}]},
    }
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    clusters = [_cluster("up", upstream_port), _cluster("dead", 1)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


# ---------------------------------------------------------------------------- lines

TEXT_FORMATS = [
    DEFAULT_FORMAT,
    "%REQ(X-DUP)%|%REQ(X-FORWARDED-FOR)%|%REQ(ACCEPT)%|%REQ(X-EMPTY?X-DUP)%|%REQ(X-NOT?X-DUP)%\n",
    "%REQ(X-BYTES)%|%REQ(HOST)%|%REQ(:SCHEME)%|%REQ(:METHOD):2%|%REQ(X-REQUEST-ID):4%\n",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE_DETAILS%\n",
    "%ROUTE_NAME% %UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_CLUSTER%\n",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_TRANSPORT_FAILURE_REASON% %PROTOCOL%\n",
    "%BYTES_RECEIVED% %BYTES_SENT% %REQUEST_DURATION%ms %STREAM_ID% %ENVIRONMENT(NOT_SET_HERE)%\n",
    "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%\n",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_PORT%\n",
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%\n",
    "%REQUESTED_SERVER_NAME% %REQUESTED_SERVER_NAME(HOST_FIRST)% %DOWNSTREAM_TLS_VERSION%\n",
    "%CONNECTION_TERMINATION_DETAILS% %VIRTUAL_CLUSTER_NAME% %RESP(:STATUS)% %TRAILER(A)%\n",
    "%RESP(X-R)% %RESP(VIA)% %ACCESS_LOG_TYPE% %HOSTNAME% 100%% %DOWNSTREAM_PEER_SUBJECT%\n",
    "%PATH(NQ)% %PATH% %PATH(WQ:PATH)% %PATH(NQ:ORIG)% %QUERY_PARAM(y)%|%QUERY_PARAMS%\n",
]
JSON_FORMAT: dict[str, Any] = {
    "status": "%RESPONSE_CODE%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes": "<%BYTES_SENT%>",
    "missing": "%REQ(X-NOT)%",
    "missing text": "%REQ(X-NOT)%-x",
    "nested": {"port": "%DOWNSTREAM_LOCAL_PORT%", "list": ["%PROTOCOL%", 5, True, None, 1.5]},
    "flags": "%RESPONSE_FLAGS%",
    "flags long": "%RESPONSE_FLAGS_LONG%",
    "quoted": "%REQ(X-QUOTED)%",
    "bytes not utf-8": "%REQ(X-BYTES)%",
    "empty": "%REQ(X-EMPTY)%",
    "percent": "%%",
    "one literal": "%%%RESPONSE_CODE%",
    "request": "%REQUEST_DURATION%ms",
    "host": "%UPSTREAM_HOST%",
    "route": "%ROUTE_NAME%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "environment": "%ENVIRONMENT(NOT_SET_HERE)%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "é": "é/<&>",
}

# Start time, how long the request took to come, and in the default format how long it and its
# upstream took.
_VARIES = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d+ms|(?<= )\d+ (?:\d+|-)(?= \")")


@dataclass(frozen=True)
class Case:
    """A request, and what becomes of it: facts that a stream would have at its end."""

    path: str
    facts: dict[str, Any]
    pairs: Pairs
    method: str = "GET"
    body: bytes = b""


_UPSTREAM = {"attempt": 1, "bytes_sent": 5}
_NO_UPSTREAM = {"service_ms": None, "host": None, "cluster": None, "attempt": 0}
CASES = [
    Case(
        "/old/a?x=1&y=%20z",
        {**_UPSTREAM, "route": "rewritten", "new_path": "/new/a?x=1&y=%20z"},
        [
            ("x-request-id", "r-rewritten"), ("x-dup", "1"), ("x-dup", "2"), ("x-empty", ""),
            ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("accept", "a"),
            ("accept", "b"), ("x-quoted", 'say "hi" \\ there\tand'), ("x-bytes", "\xe9\xff"),
        ],
    ),
    Case("/up", {**_UPSTREAM, "route": "", "bytes_received": 5},
         [("x-request-id", "r-up"), ("content-length", "5")], "POST", b"12345"),
    Case("/direct",
         {**_NO_UPSTREAM, "route": "direct", "status": 418, "bytes_sent": 3,
          "detail": "direct_response"},
         [("x-request-id", "r-direct")]),
    Case("/none",
         {**_NO_UPSTREAM, "status": 404, "bytes_sent": 0, "flags": "NR",
          "detail": "route_not_found"},
         [("x-request-id", "r-none")]),
    Case("/dead",
         {"route": "", "status": 503, "attempt": 2, "bytes_sent": 121, "service_ms": None,
          "flags": "URX,UF", "failure": "delayed connect error: Connection refused",
          "detail": "upstream_reset_before_response_started{remote connection failure|delayed "
                    "connect error: Connection refused}"},
         [("x-request-id", "r-dead")]),
]  # fmt: skip


def _stream(case: Case, upstream_port: int, local_port: int, client_port: int) -> LoggedStream:
    """The facts of `case` as our own proxy would hold them."""
    facts = dict(case.facts)
    length = len(case.body)
    path = facts.pop("new_path", case.path)
    rewritten = [("x-envoy-original-path", case.path)] if path != case.path else []
    pairs = [*case.pairs, *rewritten]
    request = Request(case.method.encode(), path.encode(), b"weft.test", headers(pairs), length)
    status = facts.get("status", 200)
    answered = facts.get("service_ms", 0) is not None
    response = Response(status, headers([("x-r", "resp"), ("via", "a,b")] if answered else []))
    local = ("127.0.0.1", local_port)
    route = facts.pop("route", None)
    name = "dead" if case.path == "/dead" else "up"
    port = 1 if name == "dead" else upstream_port
    config = SimpleNamespace(alt_stat_name="")
    given = {
        "down": SimpleNamespace(info=ConnectionInfo(("127.0.0.1", client_port), local, local)),
        "route": None if route is None else SimpleNamespace(name=route, choose=lambda _: None),
        "host": Host(SocketAddress("127.0.0.1", port)),
        "cluster": SimpleNamespace(name=name, config=config),
        **facts,
    }
    return LoggedStream(request=request, response=response, **given)


@dataclass
class Judged:
    """What Envoy wrote, by format, one line per case; and the ports that were used."""

    lines: dict[str, list[bytes]]
    upstream_port: int
    local_port: int
    client_ports: list[int]


@pytest.fixture
async def judged(tmp_path: Path) -> AsyncIterator[Judged]:
    require_envoy()
    formats = {text: {"text_format_source": {"inline_string": text}} for text in TEXT_FORMATS}
    formats["json"] = {"json_format": JSON_FORMAT}
    paths = {text: tmp_path / f"{at}.log" for at, text in enumerate(formats)}
    loggers = [_logger(str(paths[text]), config) for text, config in formats.items()]
    port = free_port()
    answer = Answer(200, [("x-r", "resp"), ("via", "a"), ("via", "b")], b"hello")
    async with Upstream([answer]) as upstream:
        judge = envoy(_bootstrap(port, upstream.port, loggers), tmp_path)
        await asyncio.to_thread(judge.start)
        try:
            ports = [await _send(port, case) for case in CASES]
            await eventually_async(
                lambda: all(p.read_bytes().count(b"\n") == len(CASES) for p in paths.values()),
                what="all lines of Envoy",
            )
        finally:
            await asyncio.to_thread(judge.stop)
        lines = {text: path.read_bytes().splitlines(True) for text, path in paths.items()}
        yield Judged(lines, upstream.port, port, ports)


async def _send(port: int, case: Case) -> int:
    """Our own port."""
    async with Client(port) as client:
        pairs = [pair for pair in case.pairs if pair[0] != "content-length"]
        answer = await client.request(case.method, case.path, pairs, case.body)
        assert answer is not None and answer.status == case.facts.get("status", 200)
        ours: int = client.wire.writer.get_extra_info("sockname")[1]
        return ours


async def test_lines_are_envoys(judged: Judged) -> None:
    streams = [
        _stream(case, judged.upstream_port, judged.local_port, port)
        for case, port in zip(CASES, judged.client_ports, strict=True)
    ]
    for text in TEXT_FORMATS:
        ours = [compile_format(text)(stream) for stream in streams]
        assert _steady(ours) == _steady(judged.lines[text]), text
    ours = [compile_json(JSON_FORMAT)(stream) for stream in streams]
    theirs = judged.lines["json"]
    steady = (list(map(json.loads, _steady(lines))) for lines in (ours, theirs))
    assert next(steady) == next(steady)
    order = [list(json.loads(line)) for line in theirs]
    assert [list(json.loads(line)) for line in ours] == order


def _steady(lines: list[bytes]) -> list[bytes]:
    return [_VARIES.sub(b"*", line) for line in lines]


# ---------------------------------------------------------------------------- the grammar

ACCEPTED = [
    "%REQ(A?)%", "%REQ(?A)%", "%REQ(A):0%", "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
    "%PATH():3%", "%PATH(:PATH)%", "%START_TIME()%", "%DURATION()%", "%ENVIRONMENT(A):3%",
    "%QUERY_PARAMS(DECODED)%", "%BYTES_SENT%%%", "%REQUESTED_SERVER_NAME(HOST_FIRST:)%",
    "%START_TIME(%E3S %Ez %3f %s)%", "%REQUEST_HEADER(A)%%RESPONSE_TRAILER(B)%",
    "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)%",
]  # fmt: skip
REFUSED = [
    "%ROUTE_NAME:3%", "%DURATION(x)%", "%REQ%", "%REQ()%", "%FOO%", "%REQ(a?b?c)%", "50% done",
    "%req(a)%", "%REQ(A):x%", "%REQ(A)", "%", "%START_TIME:3%", "%PATH(FOO)%", "%PATH(WQ:FOO)%",
    "%START_TIME(%n)%", "%REQ(a\nb)%", "%REQ(b c)%", "%REQ(A):99999999999999999999%",
    "%REQUESTED_SERVER_NAME(FOO)%", "%QUERY_PARAMS(FOO)%", "%ENVIRONMENT%", "%BYTES_SENT%%",
    "%%REQ(A)%",
]  # fmt: skip


def _envoy_accepts(text: str, directory: Path) -> bool:
    logger = _logger("/dev/null", {"text_format_source": {"inline_string": text}})
    path = directory / "validate.json"
    path.write_text(json.dumps(_bootstrap(free_port(), 1, [logger])))
    command = [str(BINARY), "--mode", "validate", "-c", str(path)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("text", ACCEPTED + REFUSED)
def test_the_grammar_is_envoys(text: str, tmp_path: Path) -> None:
    require_envoy()
    try:
        check_format(text)
        accepted = True
    except FormatError:
        accepted = False
    assert accepted == (text in ACCEPTED)
    assert accepted == _envoy_accepts(text, tmp_path)


def test_all_operators_of_ours_are_envoys(tmp_path: Path) -> None:
    require_envoy()
    args = {"METADATA": "ROUTE:X", "COMMON_DURATION": "DS_RX_BEG:DS_TX_END"}
    text = " ".join(
        f"%{name}({args.get(name, 'X')})%" if syntax.args == "required" else f"%{name}%"
        for name, syntax in OPERATORS.items()
        if name not in BROUGHT
    )
    check_format(text)
    assert _envoy_accepts(text, tmp_path)
