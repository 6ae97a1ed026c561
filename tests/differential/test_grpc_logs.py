"""Both proxies log the same requests over gRPC and say the same of them, to the same service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.differential.logs import EXTENSIONS, Plain, Told, outcomes
from tests.support.envoy import envoy, require_envoy
from tests.support.weft_proxy import weft_proxy

HEADERS = {
    "additional_request_headers_to_log": ["X-One", "x-absent", ":method", "host", "user-agent"],
    "additional_response_headers_to_log": ["x-answer", "server", ":status", "x-absent"],
}
TAGS = [
    {"tag": "fixed", "literal": {"value": "v"}},
    {"tag": "header", "request_header": {"name": "X-One", "default_value": "d"}},
    {"tag": "default", "request_header": {"name": "x-absent", "default_value": "d"}},
    {"tag": "absent", "request_header": {"name": "x-absent"}},
    {"tag": "format", "value": "%RESPONSE_CODE%"},
]
METADATA = {
    "name": "set_metadata",
    "typed_config": {
        "@type": EXTENSIONS + "filters.http.set_metadata.v3.Config",
        "metadata": [
            {
                "metadata_namespace": "m",
                "value": {"s": "t", "n": 1.5, "l": [1, "a", None, True], "o": {"k": "v"}},
            }
        ],
    },
}
STATE = {
    "name": "set_filter_state",
    "typed_config": {
        "@type": EXTENSIONS + "filters.http.set_filter_state.v3.Config",
        "on_request_headers": [
            {
                "object_key": "my.key",
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": "x %REQ(:METHOD)%"}},
            }
        ],
    },
}
FAULT = {
    "name": "fault",
    "typed_config": {
        "@type": EXTENSIONS + "filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 418, "percentage": {"numerator": 100}},
    },
}
CASES = [
    Told("a request"),
    Told("headers", log=HEADERS, headers={"x-one": "1", "user-agent": "ua"}),
    Told("headers that an answer has", log=HEADERS, answer={"x-answer": "yes"}),
    Told("a referer", headers={"referer": "r", "x-forwarded-for": "192.0.2.1, 10.0.0.1"}),
    Told("no UTF-8", log=HEADERS, headers={"x-one": "a\xff\xe4b", "user-agent": "\xc3\xa4"}),
    Told("tags", {"custom_tags": TAGS}, headers={"x-one": "1"}),
    Told("a body", method="POST", body=b"12345", headers={"content-length": "5"}),
    Told("an odd method", sized=False, method="FOO"),
    Told(
        "a rewritten path",
        sized=False,
        route={"route": {"cluster": "up", "prefix_rewrite": "/new/"}},
    ),
    Told("no connection", cluster="dead"),
    Told("no host", cluster="nohost"),
    Told("a cluster with another name", cluster="named"),
    Told("a direct response", sized=False, route={"direct_response": {"status": 500}}),
    Told("a redirect", sized=False, route={"redirect": {"host_redirect": "x.example"}}),
    Told("no route", sized=False, route={"match": {"path": "/none"}}),
    Told("a fault", filters=(FAULT,)),
    Told("metadata", filters=(METADATA,)),
    Told("filter state", {"filter_state_objects_to_log": ["my.key", "none"]}, filters=(STATE,)),
    Told(
        "a timeout",
        route={"route": {"cluster": "up", "timeout": "0.05s"}},
        answer={":delay": "0.3"},
    ),
    Told("mutual TLS", tls="TLSv1_3", log=HEADERS),
    Told(
        "what is wanted",
        wants={
            "status_code_filter": {
                "comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "k"}}
            }
        },
        answer={":status": "404"},
    ),
    Told("a request, told as a connection", kind="tcp"),
    Told("each at once", {"buffer_size_bytes": 0}),
    Told(
        "old HTTP",
        sized=False,
        raw=b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        manager={"http_protocol_options": {"accept_http_10": True}},
    ),
    Told("no request", sized=False, raw=b"nonsense\r\n\r\n"),
    Told(
        "the beginning, too",
        manager={"access_log_options": {"flush_access_log_on_new_request": True}},
        entries=2,
    ),
    Told("a connection", {"custom_tags": TAGS}, kind="tcp", tcp=True),
    Told("a connection over TLS", kind="tcp", tcp=True, tls="TLSv1_2"),
    Told("a connection to nobody", kind="tcp", tcp=True, cluster="dead"),
    Told("a connection without host", kind="tcp", tcp=True, cluster="nohost"),
    Told("a connection, told as a request", log=HEADERS, tcp=True),
    Told("a listener's connection", kind="tcp", listener=True),
]


def text(value: str) -> Plain:
    return {"string_value": value}


def pairs(**values: Plain) -> Plain:
    return {"values": [{"key": name, "value": value} for name, value in values.items()]}


BODY = {
    "stat_prefix": "mine",
    "body": text("%REQ(:METHOD)% %RESPONSE_CODE% %REQ(X-ABSENT)% %REQ(x-one)%\n"),
    "attributes": pairs(
        status=text("%RESPONSE_CODE%"),
        absent=text("%REQ(x-absent)%"),
        empty=text(""),
        deep={"kvlist_value": pairs(a={"array_value": {"values": [text("%PROTOCOL%")]}})},
    ),
    "resource_attributes": pairs(k=text("%REQ(x)%"), o={"kvlist_value": pairs(a=text("b"))}),
}
CASES += [
    Told("over OTLP", kind="otel", log=BODY, headers={"x-one": "1"}),
    Told("over OTLP, nothing of it", kind="otel"),
    Told("over OTLP, tags", {"custom_tags": TAGS}, kind="otel", headers={"x-one": "1"}),
    Told(
        "over OTLP, filter state",
        {"filter_state_objects_to_log": ["my.key", "none"]},
        kind="otel",
        filters=(STATE,),
    ),
    Told("a connection over OTLP", kind="otel", tcp=True, log={"body": text("%BYTES_SENT%")}),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    require_envoy()
    folders = tmp_path_factory.mktemp("envoy"), tmp_path_factory.mktemp("weft")
    with ThreadPoolExecutor(2) as side_by_side:
        theirs, ours = side_by_side.map(partial(outcomes, CASES), (envoy, weft_proxy), folders)
    return theirs, ours


@pytest.mark.parametrize("name", [*(case.name for case in CASES), "statistics"])
def test_both_say_the_same(name: str, judged: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs, ours = judged
    assert ours[name] == theirs[name]
