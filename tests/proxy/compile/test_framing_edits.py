"""What routes do to heads must not change where a message ends, nor what a head means."""

from __future__ import annotations

import pytest

from proxy.config import model
from tests.support.playbook import Playbook, cluster, listener, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def playbook(edits: model.HeaderEdits) -> Playbook:
    table = routes(route(timeout_s=0.0), edits=edits)
    return Playbook(config=snapshot([listener(table)], [cluster()]))


@pytest.mark.parametrize("pieces", [(b"abcd",), (b"ab", b"cd"), ()])
def test_a_request_that_loses_its_length_goes_in_chunks(pieces: tuple[bytes, ...]) -> None:
    """Else its body would be the next request to the upstream."""
    with playbook(model.HeaderEdits(request_remove=("Content-Length",))) as play:
        client = play.client()
        client >> (POST if pieces else POST + b"abcd")
        up = play.accept()
        for piece in pieces:
            client >> piece
        head, _, body = up.take().partition(b"\r\n\r\n")
        assert b"content-length" not in head and b"\r\ntransfer-encoding: chunked" in head
        chunks = b"".join(b"2\r\n%b\r\n" % piece for piece in pieces if len(piece) == 2)
        assert body == (chunks or b"4\r\nabcd\r\n") + b"0\r\n\r\n"
        up >> OK + b"ok"
        client << OK + b"ok"


@pytest.mark.parametrize("pieces", [(b"ok",), (b"o", b"k")])
def test_an_answer_that_loses_its_length_goes_in_chunks(pieces: tuple[bytes, ...]) -> None:
    with playbook(model.HeaderEdits(response_remove=("content-length",))) as play:
        client = play.client()
        client >> GET
        up = play.accept()
        up >> OK + pieces[0]
        for piece in pieces[1:]:
            up >> piece
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        client << head + chunks + b"0\r\n\r\n"
        client >> GET.replace(b"GET", b"HEAD")
        up >> OK
        client << head


def test_what_has_no_body_does_not_go_in_chunks() -> None:
    """Neither way; an answer says so anew (Envoy)."""
    no_length = ("content-length",)
    with playbook(model.HeaderEdits(request_remove=no_length, response_remove=no_length)) as play:
        client = play.client()
        client >> POST.replace(b"4", b"0")
        up = play.accept()
        up << POST.replace(b"4", b"0")
        up >> b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        client << b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        client >> GET
        up >> b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"
        client << b"HTTP/1.1 304 Not Modified\r\n\r\n"


def test_our_own_answer_cannot_lose_its_length() -> None:
    """It is told after the edits (Envoy)."""
    edits = model.HeaderEdits(response_remove=("content-length",))
    direct = model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(200, b"own"))
    table = routes(direct, edits=edits)
    with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
        client = play.client()
        client >> GET
        assert client.take().endswith(b"content-length: 3\r\n\r\nown")


def test_a_path_that_would_be_empty_stays() -> None:
    rewrite = model.RegexRewrite("^/x(.*)$", r"\1")
    with Playbook(route("/", regex_rewrite=rewrite)) as play:
        client = play.client()
        client >> b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
        up = play.accept()
        assert up.take().startswith(b"GET /x HTTP/1.1\r\n")
        up >> OK + b"ok"


@pytest.mark.parametrize(
    ("told", "scheme"),
    [
        (b"x-forwarded-proto: https\r\n", b"https"),
        (b"x-forwarded-proto: javascript\r\n", b"http"),
        (b"x-forwarded-proto: https\r\nx-forwarded-proto: http\r\n", b"http"),
        (b"", b"http"),
    ],
)
def test_a_redirect_has_a_scheme_of_http(told: bytes, scheme: bytes) -> None:
    redirect = model.RedirectAction(path="/there")
    with Playbook(model.Route(model.RouteMatch(prefix="/"), redirect)) as play:
        client = play.client()
        client >> b"GET / HTTP/1.1\r\nhost: a\r\n" + told + b"\r\n"
        assert b"\r\nlocation: " + scheme + b"://a/there\r\n" in client.take()
