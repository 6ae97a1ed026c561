"""Which streams a filter of an access log takes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from envoy.config.accesslog.v3 import accesslog_pb2
from google.protobuf import json_format

from proxy.config.decode_common import checked
from proxy.config.decode_log_filter import log_filter
from proxy.http.message import Response
from proxy.l7.log_filter import compile_log_filter
from proxy.runtime import RuntimeValues
from tests.support.streams import LoggedStream, headers, request


def wants(plain: dict[str, Any], runtime: RuntimeValues | None = None, **facts: Any) -> bool:
    message = checked(json_format.ParseDict(plain, accesslog_pb2.AccessLogFilter()))
    found = compile_log_filter(log_filter(message, ""), Random(1), runtime or RuntimeValues())
    stream: Any = LoggedStream(**facts)
    return found(stream)


def status(op: str, value: int) -> dict[str, Any]:
    compared = {"op": op, "value": {"default_value": value, "runtime_key": "k"}}
    return {"status_code_filter": {"comparison": compared}}


def grpc(*statuses: str, exclude: bool = False) -> dict[str, Any]:
    return {"grpc_status_filter": {"statuses": list(statuses), "exclude": exclude}}


def data(known: bool = True, default: bool | None = None) -> dict[str, Any]:
    key = "k" if known else "none"
    matcher = {"filter": "f", "path": [{"key": key}], "value": {"string_match": {"exact": "v"}}}
    found: dict[str, Any] = {"matcher": matcher}
    if default is not None:
        found["match_if_key_not_found"] = default
    return {"metadata_filter": found}


ERRORS = status("GE", 500)
FLAGS = {"response_flag_filter": {"flags": ["UF", "NR"]}}
HEADER = {"header_filter": {"header": {"name": "x-log", "present_match": True}}}
SLOW = {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 250,
        "runtime_key": "k"}}}}  # fmt: skip
NEVER = {"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 0}}}
METADATA = {"f": {"k": "v"}}


@pytest.mark.parametrize(
    ("plain", "facts", "wanted"),
    [
        (ERRORS, {"status": 503}, True),
        (ERRORS, {"status": 499}, False),
        (status("EQ", 200), {}, True),
        (status("LE", 0), {"status": 0}, True),
        (status("NE", 200), {}, False),
        (SLOW, {}, True),
        (SLOW, {"ended": 100.249}, False),
        (FLAGS, {"flags": "URX,UF"}, True),
        (FLAGS, {"flags": "URX"}, False),
        ({"response_flag_filter": {}}, {"flags": "DC"}, True),
        ({"response_flag_filter": {}}, {}, False),
        (HEADER, {"request": request(pairs=[("x-log", "1")])}, True),
        (HEADER, {}, False),
        ({"not_health_check_filter": {}}, {}, True),
        ({"not_health_check_filter": {}}, {"health_check": True}, False),
        ({"and_filter": {"filters": [ERRORS, FLAGS]}}, {"status": 503, "flags": "UF"}, True),
        ({"and_filter": {"filters": [ERRORS, FLAGS]}}, {"status": 503}, False),
        ({"or_filter": {"filters": [ERRORS, FLAGS]}}, {"status": 503}, True),
        ({"or_filter": {"filters": [ERRORS, FLAGS]}}, {}, False),
        (data(), {"metadata": METADATA}, True),
        (data(), {"metadata": {"f": {"k": "w"}}}, False),
        (data(known=False), {"metadata": METADATA}, True),
        (data(known=False, default=False), {"metadata": METADATA}, False),
        ({"metadata_filter": {}}, {}, True),
        ({"log_type_filter": {"types": ["DownstreamEnd"]}}, {}, True),
        ({"log_type_filter": {"types": ["DownstreamStart"]}}, {}, False),
        ({"log_type_filter": {"types": ["DownstreamStart"], "exclude": True}}, {}, True),
        (grpc("NOT_FOUND"), {"response_trailers": headers([("grpc-status", "5")])}, True),
        (grpc("OK"), {"response": Response(200, headers([("grpc-status", "0")]))}, True),
        (grpc("UNAVAILABLE"), {"status": 503}, True),
        (grpc("UNAVAILABLE", exclude=True), {"status": 503}, False),
        (NEVER, {}, False),
    ],
)
def test_filters(plain: dict[str, Any], facts: dict[str, Any], wanted: bool) -> None:
    assert wants(plain, **facts) is wanted


def test_the_runtime_has_the_last_word() -> None:
    runtime = RuntimeValues([("static", {"k": 100})])
    assert wants(NEVER, runtime)
    assert wants(ERRORS, runtime, status=200)
