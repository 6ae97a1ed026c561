"""Questions and verdicts as Envoy's messages."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.auth.v3 import external_auth_pb2 as auth
from google.protobuf.json_format import MessageToDict, ParseDict

from proxy.authz.messages import decoded, encoded
from proxy.authz.question import HeaderWrite, HttpPart, Peer, Question, Verdict

HERE, THERE = Peer(("10.0.0.2", 80)), Peer(("192.0.2.1", 5), "spiffe://a", certificate=b"der")
HEADERS = ((":path", b"/p"), ("x-a", b"1"), ("x-a", b"\xff"))


def asked(**fields: Any) -> dict[str, Any]:
    part = HttpPart("7", "GET", "/p", "a.test", "https", "HTTP/2", 3, HEADERS, b"a\xff")
    data = encoded(Question(THERE, HERE, 1_000.5, part, **fields))
    found: dict[str, Any] = MessageToDict(auth.CheckRequest.FromString(data))["attributes"]
    return found


def test_headers_are_a_map_and_text() -> None:
    http = asked()["request"]["http"]
    assert http["headers"] == {":path": "/p", "x-a": "1,!"} and http["body"] == "a!"
    assert http["size"] == "3" and http["protocol"] == "HTTP/2"


def test_or_raw() -> None:
    http = asked(raw_headers=True, raw_body=True)["request"]["http"]
    assert [each["key"] for each in http["headerMap"]["headers"]] == [":path", "x-a", "x-a"]
    assert http["rawBody"] == "Yf8=" and "headers" not in http and "body" not in http


def test_who_asks_and_when() -> None:
    found = asked(extensions={"k": "v"}, metadata={"ns": {"a": [1, None]}}, sni="s.test")
    assert found["source"]["principal"] == "spiffe://a"
    assert found["source"]["certificate"].startswith("-----BEGIN%20CERTIFICATE-----%0AZGVy%0A")
    assert found["request"]["time"] == "1970-01-01T00:16:40.500Z"
    assert found["contextExtensions"] == {"k": "v"} and found["tlsSession"] == {"sni": "s.test"}
    assert found["metadataContext"] == {"filterMetadata": {"ns": {"a": [1.0, None]}}}


def header(name: str, value: str, **fields: Any) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, **fields}


@pytest.mark.parametrize(
    ("plan", "verdict"),
    [
        ({}, Verdict("OK")),
        ({"status": {"code": 7}}, Verdict("DENIED", 403)),
        (
            {"status": {"code": 7}, "dynamicMetadata": {"who": "x"}, "deniedResponse": {
                "status": {"code": 401}, "body": "no", "headers": [header("X-A", "1")]
            }},
            Verdict("DENIED", 401, (HeaderWrite("x-a", b"1", "add"),), body=b"no",
                    metadata={"who": "x"}),
        ),
        (
            {"status": {"code": 7}, "errorResponse": {"status": {"code": 503}}},
            Verdict("ERROR", 503),
        ),
        (
            {"okResponse": {"headers": [header("a", "1", append=True), header("b", "2")],
                            "headersToRemove": ["C"], "dynamicMetadata": {"n": 1}}},
            Verdict("OK", headers=(HeaderWrite("a", b"1", "append"), HeaderWrite("b", b"2")),
                    remove=("c",), metadata={"n": 1.0}),
        ),
    ],
)  # fmt: skip
def test_what_a_response_says(plan: dict[str, Any], verdict: Verdict) -> None:
    assert decoded(ParseDict(plan, auth.CheckResponse()).SerializeToString()) == verdict
