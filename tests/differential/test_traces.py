"""Both proxies trace the same requests and say the same of them, to the same collector."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.differential.traces import EXTENSIONS, TRACERS, Plain, Traced, outcomes
from tests.support.envoy import envoy, require_envoy
from tests.support.weft_proxy import weft_proxy

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"
UUID = "1c53cc3f-9792-4017-bd9a-a7a89b2384a1"
NEVER = {"random_sampling": {"value": 0}}
SPAWN = {"spawn_upstream_span": True}
NAMED = {"decorator": {"operation": "op"}}
DECORATOR = "x-envoy-decorator-operation"
UUID_IDS = EXTENSIONS + "request_id.uuid.v3.UuidRequestIdConfig"
ZIPKIN = {
    "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
    "collector_cluster": "http",
    "collector_endpoint": "/api/v2/spans",
    "collector_endpoint_version": "HTTP_JSON",
}
TRACE, SPAN = PARENT[3:35], PARENT[36:52]
B3 = {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-parentspanid": "1" * 16}
HTTP = {
    "http_uri": {"uri": "http://col.example:4318/v1/traces", "cluster": "http", "timeout": "5s"},
    "request_headers_to_add": [{"header": {"key": "x-key", "value": "k"}}],
}


def reason(digit: str) -> dict[str, str]:
    return {"x-request-id": f"{UUID[:14]}{digit}{UUID[15:]}"}


def share(percent: int) -> Plain:
    """Of traces by their ids: that of PARENT is held against as 78."""
    kind = TRACERS + "samplers.v3.TraceIdRatioBasedSamplerConfig"
    config = {"@type": kind, "sampling_percentage": {"numerator": percent}}
    return {"http_service": HTTP, "sampler": {"name": "share", "typed_config": config}}


def ids(**said: bool) -> Plain:
    return {"request_id_extension": {"typed_config": {"@type": UUID_IDS, **said}}}


def grpc(status: int, outbound: bool) -> Traced:
    kind = {"content-type": "application/grpc"}
    name = f"gRPC status {status}, {'outbound' if outbound else 'inbound'}"
    answer = {**kind, "grpc-status": str(status), "grpc-message": "why"}
    return Traced(
        name, method="POST", path="/p.S/M", headers=kind, answer=answer, outbound=outbound
    )


def metadata(tag: str, kind: str, key: str) -> Plain:
    path = {"key": "m", "path": [{"key": key}]}
    return {"tag": tag, "metadata": {"kind": {kind: {}}, "metadata_key": path}}


def zipkin(name: str, tracing: Plain | None = None, spans: int = 1, **fields: Any) -> Traced:
    """fields in capitals: of the provider."""
    said = {key.lower(): value for key, value in fields.items() if key.isupper()}
    others = {key: value for key, value in fields.items() if not key.isupper()}
    return Traced(
        f"Zipkin: {name}", tracing or {}, provider={**ZIPKIN, **said}, spans=spans, **others
    )


TAGS = [
    {"tag": "fixed", "literal": {"value": "v"}},
    {"tag": "fixed", "literal": {"value": "second"}},
    {"tag": "nowhere", "environment": {"name": "NO_SUCH_VARIABLE"}},
    {"tag": "default", "environment": {"name": "NO_SUCH_VARIABLE", "default_value": "d"}},
    {"tag": "header", "request_header": {"name": "X-H", "default_value": "d"}},
    {"tag": "no header", "request_header": {"name": "x-absent"}},
    {"tag": "no header, default", "request_header": {"name": "x-absent", "default_value": "q"}},
    {"tag": "format", "value": "%REQ(x-h)%-%RESPONSE_CODE%"},
    {"tag": "empty format", "value": "%REQ(x-absent)%"},
    metadata("route", "route", "r"),
    metadata("cluster", "cluster", "c"),
    metadata("host", "host", "host"),
    metadata("number", "host", "n"),
    metadata("request", "request", "r"),
]
CASES = [
    Traced("inbound"),
    Traced("outbound", outbound=True),
    Traced("a body", method="POST", headers={"content-length": "0", "user-agent": "ua"}),
    Traced("a sampled parent", headers={"traceparent": PARENT, "tracestate": "a=b"}),
    Traced("a parent that is not sampled", headers={"traceparent": UNSAMPLED}, spans=0),
    Traced("an unreadable parent", headers={"traceparent": "00-zz", "tracestate": "a"}, spans=0),
    Traced("no parent, a state", headers={"tracestate": "a=b"}),
    Traced("upper case", headers={"traceparent": PARENT.upper()}),
    Traced("a later version", headers={"traceparent": f"cc{PARENT[2:]}"}),
    Traced("a trace of zeros", headers={"traceparent": f"00-{'0' * 32}{PARENT[35:]}"}, spans=0),
    Traced("not by chance", NEVER, spans=0),
    Traced("a parent, not by chance", NEVER, headers={"traceparent": PARENT}, spans=0),
    Traced("forced from outside", NEVER, headers={"x-envoy-force-trace": "true"}, spans=0),
    Traced("asked for", NEVER, headers={"x-client-trace-id": "abc"}),
    Traced(
        "asked for in vain",
        {**NEVER, "client_sampling": {"value": 0}},
        headers={"x-client-trace-id": "abc"},
        spans=0,
    ),
    Traced("none at all", {"overall_sampling": {"value": 0}}, spans=0),
    Traced("an id that was sampled", NEVER, headers=reason("9")),
    Traced("an id that was forced", NEVER, headers=reason("a")),
    Traced("an id that was asked for", NEVER, headers=reason("b")),
    Traced("no UUID", headers={"x-request-id": "nonsense"}, spans=0),
    Traced("a short id", headers={"x-request-id": "12345678-foo"}),
    Traced("36 digits", headers={"x-request-id": "1" * 36}),
    Traced("no ids", manager={"generate_request_id": False}, spans=0),
    Traced("ids that bear nothing", manager=ids(pack_trace_reason=False)),
    Traced("ids that don't decide", NEVER, manager=ids(use_request_id_for_trace_sampling=False)),
    Traced("a decorator, inbound", route=NAMED),
    Traced("a decorator, outbound", route=NAMED, outbound=True),
    Traced("a decorator and the client's", route=NAMED, headers={DECORATOR: "theirs"}),
    Traced(
        "a decorator and the server's", route=NAMED, outbound=True, answer={DECORATOR: "theirs"}
    ),
    Traced(
        "a decorator that stays",
        route={"decorator": {"operation": "op", "propagate": False}},
        headers={DECORATOR: ""},
    ),
    Traced("an operation", {"operation": "%REQ(:method)% %REQ(no)%x"}, route=NAMED),
    Traced("an operation of the client's", {"operation": "a"}, headers={DECORATOR: "theirs"}),
    Traced(
        "an operation of the route",
        {"operation": "a"},
        route={**NAMED, "tracing": {"operation": "R %RESPONSE_CODE%"}},
        outbound=True,
    ),
    Traced("tags", {"custom_tags": TAGS}, headers={"x-h": "hhh"}),
    Traced("a long path", {"max_path_tag_length": 5}, path="/abcdefghijkl"),
    Traced("verbose", {"verbose": True}),
    Traced("a rewritten path", route={"route": {"cluster": "up", "prefix_rewrite": "/new/"}}),
    Traced("no connection", route={"route": {"cluster": "dead"}}),
    Traced("a direct response", route={"direct_response": {"status": 500}}),
    Traced("a redirect", route={"redirect": {"host_redirect": "x.example"}}),
    Traced("no route", route={"match": {"path": "/none"}}),
    Traced("not found, inbound", answer={":status": "404"}),
    Traced("not found, outbound", answer={":status": "404"}, outbound=True),
    *(grpc(status, outbound) for status in (0, 5, 8, 13) for outbound in (False, True)),
    Traced(
        "the route's word",
        {**NEVER, "custom_tags": TAGS[:1]},
        route={
            "tracing": {
                "random_sampling": {"numerator": 100},
                "custom_tags": [{"tag": "fixed", "literal": {"value": "r"}}],
            }
        },
    ),
    Traced("a route that says little", NEVER, route={"tracing": {}}),
    Traced(
        "retries",
        host={"retry_policy": {"retry_on": "5xx", "num_retries": 1}},
        answer={":status": "500"},
    ),
    Traced(
        "headers that are taken away",
        host={
            "request_headers_to_remove": ["traceparent"],
            "request_headers_to_add": [
                {"header": {"key": "x-theirs", "value": "%REQ(traceparent)%"}}
            ],
        },
        headers={"traceparent": PARENT},
    ),
    Traced(
        "identities in a header",
        host={
            "response_headers_to_add": [
                {"header": {"key": "x-trace", "value": "%TRACE_ID% %SPAN_ID%"}}
            ]
        },
    ),
    Traced("no provider", provider=None, spans=0),
    Traced("by HTTP", provider={"http_service": HTTP}),
    Traced(
        "always on",
        headers={"traceparent": UNSAMPLED},
        provider={
            "http_service": HTTP,
            "sampler": {
                "name": "always_on",
                "typed_config": {"@type": TRACERS + "samplers.v3.AlwaysOnSamplerConfig"},
            },
        },
    ),
    Traced("a share of traces", headers={"traceparent": UNSAMPLED}, provider=share(79)),
    Traced("another share", headers={"traceparent": PARENT}, provider=share(78), spans=0),
    Traced("attempts", SPAWN, spans=2),
    Traced("attempts, outbound", SPAWN, outbound=True, headers={"traceparent": PARENT}, spans=2),
    Traced("attempts that are not sampled", {**SPAWN, **NEVER}, spans=0),
    Traced("attempts with tags", {**SPAWN, "custom_tags": TAGS, "verbose": True}, spans=2),
    Traced("an attempt that fails", SPAWN, route={"route": {"cluster": "dead"}}, spans=2),
    Traced(
        "an attempt that takes too long",
        SPAWN,
        route={"route": {"cluster": "up", "timeout": "0.05s"}},
        answer={":delay": "0.3"},
        spans=2,
    ),
    Traced(
        "attempts one after another",
        SPAWN,
        host={"retry_policy": {"retry_on": "5xx", "num_retries": 1}},
        answer={":status": "500"},
        spans=3,
    ),
    Traced("no attempt", SPAWN, route={"direct_response": {"status": 200}}),
    Traced("no host", SPAWN, route={"route": {"cluster": "nohost"}}),
    Traced(
        "operations of attempts",
        {**SPAWN, "upstream_operation": "a"},
        route={**NAMED, "tracing": {"upstream_operation": "R %RESPONSE_CODE%"}},
        spans=2,
    ),
    replace(grpc(5, False), name="a gRPC attempt", tracing=SPAWN, spans=2),
    zipkin("attempts", SPAWN, spans=2),
    zipkin("attempts, outbound", SPAWN, outbound=True, headers=B3, spans=2),
    zipkin("inbound"),
    zipkin("outbound", outbound=True),
    zipkin("long identities", TRACE_ID_128BIT=True),
    zipkin("a parent", headers=B3),
    zipkin("a parent, outbound", headers=B3, outbound=True),
    zipkin("a parent of its own", headers=B3, SHARED_SPAN_CONTEXT=False),
    zipkin("a sampled parent, not by chance", NEVER, headers={**B3, "x-b3-sampled": "1"}),
    zipkin("a parent that says nothing, not by chance", NEVER, headers=B3, spans=0),
    zipkin("a parent that is not sampled", headers={**B3, "x-b3-sampled": "false"}, spans=0),
    zipkin("sampled, without identity", NEVER, headers={"x-b3-sampled": "1"}),
    zipkin("not sampled, without identity", headers={"x-b3-sampled": "0"}, spans=0),
    zipkin("an unreadable parent", headers={**B3, "x-b3-traceid": "zz"}, spans=0),
    zipkin("all in one", headers={"b3": f"{TRACE}-{SPAN}-1-{'1' * 16}"}),
    zipkin("one that says no", headers={"b3": "0"}, spans=0),
    zipkin("one that debugs", NEVER, headers={"b3": "d"}),
    zipkin("traceparent is not read", headers={"traceparent": PARENT}),
    zipkin(
        "traceparent, too",
        headers={"traceparent": PARENT},
        TRACE_CONTEXT_OPTION="USE_B3_WITH_W3C_PROPAGATION",
    ),
    zipkin("traceparent written", TRACE_CONTEXT_OPTION="USE_B3_WITH_W3C_PROPAGATION"),
    zipkin("verbose", {"verbose": True}, answer={":status": "503"}),
    zipkin("a decorator", route=NAMED, outbound=True, COLLECTOR_HOSTNAME="zip.example"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Plain], dict[str, Plain]]:
    require_envoy()
    folders = tmp_path_factory.mktemp("envoy"), tmp_path_factory.mktemp("weft")
    with ThreadPoolExecutor(2) as side_by_side:
        theirs, ours = side_by_side.map(partial(outcomes, CASES), (envoy, weft_proxy), folders)
    return theirs, ours


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_both_say_the_same(name: str, judged: tuple[dict[str, Plain], dict[str, Plain]]) -> None:
    theirs, ours = judged
    assert ours[name] == theirs[name]
