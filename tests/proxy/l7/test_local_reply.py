"""Our own answers: what makes their bodies, and gRPC's way to tell them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import model
from proxy.config.model import log_filter
from proxy.config.model.local_reply import LocalReplyConfig, ResponseMapper
from proxy.l7.local_reply import percent_encoded
from tests.support.playbook import Playbook, listener, routes, snapshot

GRPC = b"content-type: application/grpc\r\n"


def asked(
    config: LocalReplyConfig | None, more: bytes = b"", status: int = 503, body: bytes = b"why"
) -> bytes:
    direct = model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(status, body))
    with Playbook(config=snapshot([listener(routes(direct), local_reply=config)])) as play:
        client = play.client()
        client >> b"GET /p HTTP/1.1\r\nhost: a\r\n" + more + b"\r\n"
        return client.take()


def text(said: str) -> model.BodyFormat:
    return model.BodyFormat(text_format=said)


def test_without_a_configuration() -> None:
    came = asked(None)
    assert came.endswith(b"content-type: text/plain\r\ncontent-length: 3\r\n\r\nwhy")
    assert b"content-type" not in asked(None, body=b"")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(status: int) -> None:
    """RFC 9110 sections 15.3.5 and 15.4.5; Envoy would send it behind the head."""
    came = asked(None, status=status)
    assert came.endswith(b"\r\n\r\n")
    assert b"content-length" not in came and b"content-type" not in came


def test_the_common_format() -> None:
    came = asked(LocalReplyConfig(body_format=text('[%LOCAL_REPLY_BODY%] "%REQ(:PATH)%" %%')))
    assert came.endswith(b'content-length: 12\r\n\r\n[why] "/p" %')
    fields = {"body": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%"}
    came = asked(LocalReplyConfig(body_format=model.BodyFormat(json_format=fields)))
    assert b"content-type: application/json\r\n" in came
    assert came.endswith(b'{"body":"why","code":503}\n')


def test_the_first_mapper_that_takes_it() -> None:
    mappers = (
        ResponseMapper(comparison("NE", 503), 418),
        ResponseMapper(
            comparison("EQ", 503),
            429,
            b"later",
            text("<%LOCAL_REPLY_BODY%>"),
            (model.HeaderValueOption("x-was", "%RESPONSE_CODE%"),),
        ),
        ResponseMapper(comparison("EQ", 429), 500),
    )
    came = asked(LocalReplyConfig(mappers, text("common")))
    assert came.startswith(b"HTTP/1.1 429 ") and came.endswith(b"\r\n\r\n<later>")
    assert b"x-was: 503\r\n" in came
    assert asked(LocalReplyConfig(mappers, text("common")), status=200).startswith(b"HTTP/1.1 418 ")


def comparison(op: Any, status: int) -> log_filter.Comparison:
    return log_filter.Comparison("status_code", op, status, "")


@pytest.mark.parametrize(
    "status, told", [(503, 14), (404, 12), (400, 13), (401, 16), (403, 7), (429, 14), (500, 2)]
)
def test_a_grpc_client_gets_a_status(status: int, told: int) -> None:
    came = asked(None, GRPC, status)
    assert came.startswith(b"HTTP/1.1 200 OK\r\n") and came.endswith(b"\r\n\r\n")
    assert b"grpc-status: %d\r\ngrpc-message: why\r\n" % told in came


def test_messages_that_headers_cannot_hold() -> None:
    assert percent_encoded(b"a b") == b"a b"
    assert percent_encoded("50% \u00fc\n".encode()) == b"50%25 %C3%BC%0A"
