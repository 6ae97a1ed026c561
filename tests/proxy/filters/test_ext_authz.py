"""ext_authz by itself: what is waited for, given up, and never taken from a service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from google.protobuf import json_format

from proxy.authz.messages import decoded as verdict_of
from proxy.authz.question import HeaderWrite, Verdict
from proxy.config.filters.decode_ext_authz import decode
from proxy.config.rejected import Rejected
from proxy.filters import ext_authz
from proxy.filters.api import WAIT, Reply
from proxy.filters.ext_authz_effects import edit_request, edited_query, is_valid
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome, Told
from proxy.http.message import Response
from tests.support.filters import FakeStream, context, request

HTTP = {"server_uri": {"uri": "http://authz.test", "cluster": "authz", "timeout": "1s"}}


@dataclass
class Service:
    """Notes the questions; `at_once` answers before `ask` returns."""

    asked: list[Inquiry] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    cancelled: int = 0
    at_once: Outcome | None = None

    def ask(self, inquiry: Inquiry, told: Told) -> Any:
        self.asked.append(inquiry)
        self.told.append(told)
        if self.at_once is not None:
            told(self.at_once)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def config(**fields: Any) -> Any:
    message = json_format.ParseDict({"http_service": HTTP, **fields}, ext_authz_pb2.ExtAuthz())
    return decode(message.SerializeToString(), "config")


def hooks(service: Service, **fields: Any) -> Any:
    return ext_authz.build(config(**fields), context(ask=service.ask)).for_route(())


def test_a_request_waits_for_the_word() -> None:
    service, stream = Service(), FakeStream()
    found = hooks(service)
    assert found.on_request(stream) is WAIT
    service.told[0](Outcome(200))
    assert stream.resumed == [None]
    found.at_end(stream)
    assert not service.cancelled


def test_a_word_that_comes_at_once_is_not_waited_for() -> None:
    service, stream = Service(at_once=Outcome(403, body=b"no")), FakeStream()
    answer = hooks(service).on_request(stream)
    assert isinstance(answer, Reply) and (answer.status, answer.body) == (403, b"no")
    assert (answer.flag, answer.detail) == ("UAEX", "ext_authz_denied") and stream.resumed == []


def test_nobody_asks_for_a_client_that_has_left() -> None:
    service, stream = Service(), FakeStream()
    found = hooks(service)
    found.on_request(stream)
    found.at_end(stream)
    assert service.cancelled == 1
    service.told[0](Outcome(200))
    assert stream.resumed == []


def test_a_body_is_gathered_before_anybody_is_asked() -> None:
    service, stream = Service(), FakeStream(request(method="POST"), request_done=False)
    found = hooks(service, with_request_body={"max_request_bytes": 10})
    assert found.on_request(stream) is WAIT and not service.asked
    assert stream.buffer_limit_bytes == 10
    for piece in (b"hel", b"lo"):
        stream.body_received += len(piece)
        assert found.on_request_data(stream, piece, False) == piece
    found.on_request_end(stream, None)
    assert service.asked[0].body == b"hello"
    assert service.asked[0].request.headers.get(b"x-envoy-auth-partial-body") == b"false"


def test_a_body_may_turn_out_to_be_empty() -> None:
    service, stream = Service(), FakeStream(request(method="POST"), request_done=False)
    found = hooks(service, with_request_body={"max_request_bytes": 10})
    assert found.on_request(stream) is WAIT
    found.on_request_data(stream, b"", True)
    found.on_request_end(stream, None)
    (inquiry,) = service.asked
    assert inquiry.body == b""


def test_too_long_a_body_is_refused() -> None:
    service, stream = Service(), FakeStream(request(method="POST"), request_done=False)
    found = hooks(service, with_request_body={"max_request_bytes": 4})
    found.on_request(stream)
    stream.body_received = 5
    found.on_request_data(stream, b"hello", False)
    found.on_request_end(stream, None)
    assert [reply.status for reply in stream.resumed] == [413] and not service.asked  # type: ignore[union-attr]


def test_a_part_of_a_long_body_is_enough() -> None:
    service, stream = Service(), FakeStream(request(method="POST"), request_done=False)
    body = {"max_request_bytes": 4, "allow_partial_message": True}
    found = hooks(service, with_request_body=body)
    found.on_request(stream)
    stream.body_received = 5
    found.on_request_data(stream, b"hello", False)
    found.on_request_data(stream, b" and more", True)
    found.on_request_end(stream, None)
    (inquiry,) = service.asked
    assert inquiry.body == b"hell"
    assert inquiry.request.headers.get(b"x-envoy-auth-partial-body") == b"true"


def test_an_answer_gets_the_services_headers() -> None:
    allowed = {"allowed_client_headers_on_success": {"patterns": [{"prefix": "x-"}]}}
    service = Service(at_once=Outcome(200, Headers.of([(b"x-a", b"1"), (b"y", b"2")])))
    stream = FakeStream()
    found = hooks(service, http_service={**HTTP, "authorization_response": allowed})
    assert found.on_request(stream) is None
    response = Response(200, Headers())
    found.on_response(stream, response)
    assert list(response.headers) == [(b"x-a", b"1")]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"http_service": {**HTTP, "path_prefix": "check"}}, "path_prefix"),
        ({"emit_filter_state_stats": True}, "emit_filter_state_stats"),
        ({"bootstrap_metadata_labels_key": "l"}, "bootstrap_metadata_labels_key"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as error:
        config(**fields)
    assert where in str(error.value)


def test_garbage_is_no_word() -> None:
    assert verdict_of(b"\xff\xff").kind == "ERROR"


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding", "connection"])
def test_framing_is_never_the_services(name: str) -> None:
    asked = request(content_length="3")
    edit_request(asked, Verdict("OK", headers=(HeaderWrite(name, b"9"),), remove=(name,)))
    assert list(asked.headers) == [(b"content-length", b"3")]


def test_a_header_that_would_be_two_is_left_out() -> None:
    asked = request()
    verdict = Verdict("OK", headers=(HeaderWrite("x-a", b"1\r\nx-b: 2"), HeaderWrite("x c", b"1")))
    edit_request(asked, verdict)
    assert not len(asked.headers) and not is_valid(verdict)


@pytest.mark.parametrize("value", [b"/a b", b"/\r\nx: y", b"", b"\x00"])
@pytest.mark.parametrize("name", [":path", ":authority", "host", ":method"])
def test_a_request_line_stays_one(name: str, value: bytes) -> None:
    asked = request("/p")
    edit_request(asked, Verdict("OK", headers=(HeaderWrite(name, value),)))
    assert (asked.path, asked.authority, asked.method) == (b"/p", b"a.test", b"GET")
    good = HeaderWrite(":path", b"/q?a=%20")
    edit_request(asked, Verdict("OK", headers=(good,)))
    assert asked.path == b"/q?a=%20"


def test_nobody_else_says_that_a_body_is_partial() -> None:
    service, stream = Service(), FakeStream(request(x_envoy_auth_partial_body="true"))
    listed = {"patterns": [{"prefix": "x-"}]}
    hooks(service, allowed_headers=listed).on_request(stream)
    assert service.asked[0].request.headers.get(b"x-envoy-auth-partial-body") is None


def test_a_query_keeps_its_spelling() -> None:
    sets = (("b", "2 3"), ("z", "%41&x"), ("y\r\n", "1"))
    assert edited_query(b"/p?c=%26&b=1&a", sets, ("c",)) == b"/p?a&b=2%203&y%0D%0A=1&z=%41&x"
