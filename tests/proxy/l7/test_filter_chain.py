"""How a stream walks its filters: steps, waiting, bodies, replies, overrides of a route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.compile import chains
from proxy.config import model
from proxy.config.filters.decode_per_route import Disabled, Enabled
from proxy.filters.api import (
    WAIT,
    Answer,
    FilterContext,
    FilterStream,
    Hooks,
    Reply,
)
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Response
from proxy.outbox import flush
from tests.support.playbook import ROUTER, Playbook, listener, route, routes, snapshot
from tests.support.playbook import cluster as a_cluster

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n"


@dataclass(eq=False)
class Scripted:
    """A filter whose hooks the test gives; `seen` are the overrides that it was asked for."""

    hooks: Hooks | None
    seen: list[tuple[object, ...]] = field(default_factory=list)

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        self.seen.append(overrides)
        return self.hooks


@pytest.fixture(autouse=True)
def _scripted_filters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The configuration of a `test` filter is the filter itself."""

    def build(config: Any, _: FilterContext) -> Any:
        return config

    monkeypatch.setattr(chains, "FILTERS", {"test": build})
    yield


def a_filter(name: str, disabled: bool = False, **hooks: Any) -> model.HttpFilter:
    return model.HttpFilter(name, "test", Scripted(Hooks(**hooks)), disabled)


def a_play(*filters: model.HttpFilter, **fields: Any) -> Playbook:
    return Playbook(filters=(*filters, ROUTER), **fields)


def noting(notes: list[str], name: str) -> model.HttpFilter:
    """Notes when its hooks are called."""

    def on_request(_: FilterStream) -> None:
        notes.append(f"request {name}")

    def on_response(_: FilterStream, response: Response) -> None:
        notes.append(f"response {name} {response.status}")

    def at_end(stream: FilterStream) -> None:
        notes.append(f"end {name} {stream.status}")

    return a_filter(name, on_request=on_request, on_response=on_response, at_end=at_end)


class TestOrder:
    def test_replies_walk_backwards(self) -> None:
        notes: list[str] = []
        with a_play(noting(notes, "a"), noting(notes, "b")) as play:
            client = play.client()
            client >> GET
            play.accept() >> OK
            client << OK
            assert notes == [
                "request a", "request b", "response b 200", "response a 200",
                "end a 200", "end b 200",
            ]  # fmt: skip

    def test_our_own_answers_walk_all_of_them(self) -> None:
        notes: list[str] = []
        stops = a_filter("stops", on_request=lambda _: Reply(403, b"no", "UAEX", "denied"))
        with a_play(noting(notes, "a"), stops, noting(notes, "b")) as play:
            client = play.client()
            client >> GET
            assert client.take().startswith(b"HTTP/1.1 403 ")
            assert notes[:3] == ["request a", "response b 403", "response a 403"]
            assert play.logged == [(403, "UAEX", "denied")] and not play.openings

    def test_filters_see_requests_that_no_route_takes(self) -> None:
        notes: list[str] = []
        config = [noting(notes, "a")]
        with Playbook(route("/only"), filters=(*config, ROUTER)) as play:
            client = play.client()
            client >> GET
            assert client.take().startswith(b"HTTP/1.1 404 ")
            assert notes[0] == "request a" and play.logged[0][1] == "NR"

    def test_an_answer_may_be_replaced(self) -> None:
        def replace(_: FilterStream, response: Response) -> Reply:
            return Reply(418, b"short")

        with a_play(a_filter("a", on_response=replace)) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegins"
            taken = client.take()
            assert taken.startswith(b"HTTP/1.1 418 ") and taken.endswith(b"\r\n\r\nshort")
            assert up.closed


class Waits:
    """Says WAIT and remembers the stream; then the test lets it go."""

    def __init__(self) -> None:
        self.stream: FilterStream | None = None

    def __call__(self, stream: FilterStream) -> Answer:
        self.stream = stream
        return WAIT

    def resume(self, answer: Answer = None) -> None:
        assert self.stream is not None
        self.stream.resume(answer)
        flush()


class TestWaiting:
    def test_the_body_that_came_meanwhile_is_not_lost(self) -> None:
        waits = Waits()
        with a_play(a_filter("a", on_request=waits)) as play:
            client = play.client()
            client >> POST + b"abc"
            client >> b"def"
            assert not play.openings
            waits.resume()
            play.accept() << POST + b"abcdef"

    def test_it_may_answer(self) -> None:
        waits = Waits()
        with a_play(a_filter("a", on_request=waits)) as play:
            client = play.client()
            client >> GET
            waits.resume(Reply(401))
            assert client.take().startswith(b"HTTP/1.1 401 ") and not play.openings

    def test_the_client_has_gone_meanwhile(self) -> None:
        waits = Waits()
        with a_play(a_filter("a", on_request=waits)) as play:
            client = play.client()
            client >> GET
            client.leave()
            waits.resume()
            assert not play.openings and play.logged == [(0, "DC", "downstream_remote_disconnect")]

    def test_a_body_is_not_read_without_end(self) -> None:
        waits = Waits()
        config = snapshot(
            [listener(routes(route()), filters=(a_filter("a", on_request=waits), ROUTER),
                      buffer_limit=1000)],
            [a_cluster()],
        )  # fmt: skip
        with Playbook(config=config) as play:
            client = play.client()
            client >> b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000\r\n\r\n" + b"x" * 1001
            assert not client.transport.reading
            waits.resume()
            up = play.accept()
            assert client.transport.reading
            client >> b"y" * 1999
            assert up.take().endswith(b"x" * 1001 + b"y" * 1999)


class TestBodies:
    def test_a_request_is_changed_piece_by_piece(self) -> None:
        def begin(stream: FilterStream) -> None:
            stream.request.headers.remove(b"content-length")
            stream.request.length = CHUNKED

        def shout(_: FilterStream, data: bytes, end: bool) -> bytes:
            return data.upper() + (b"!" if end else b"")

        with a_play(a_filter("a", on_request=begin, on_request_data=shout)) as play:
            client = play.client()
            client >> POST + b"abc"
            up = play.accept()
            client >> b"def"
            head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            up << head + b"3\r\nABC\r\n3\r\nDEF\r\n1\r\n!\r\n0\r\n\r\n"

    def test_what_was_kept_passes_the_hook_of_a_later_filter_when_it_is_walked(self) -> None:
        waits, seen = Waits(), []

        def see(_: FilterStream, data: bytes, end: bool) -> bytes:
            seen.append((data, end))
            return data

        filters = a_filter("a", on_request=waits), a_filter("b", on_request_data=see)
        with a_play(*filters) as play:
            client = play.client()
            client >> POST + b"abc"
            client >> b"def"
            assert seen == []
            waits.resume()
            assert seen == [(b"abc", False), (b"def", True)]
            play.accept() << POST + b"abcdef"

    @pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b"def"], [b"", b"abcdef"]])
    def test_a_filter_that_wants_the_whole_body(self, pieces: list[bytes]) -> None:
        ends: list[Headers | None] = []

        def on_end(stream: FilterStream, trailers: Headers | None) -> None:
            ends.append(trailers)
            stream.resume()

        whole = a_filter("a", on_request=lambda _: WAIT, on_request_end=on_end)
        with a_play(whole) as play:
            client = play.client()
            client >> POST + pieces[0]
            for piece in pieces[1:]:
                assert not play.openings
                client >> piece
            play.accept() << POST + b"abcdef"
            assert ends == [None]

    def test_a_hook_may_refuse_the_body(self) -> None:
        def refuse(stream: FilterStream, data: bytes, end: bool) -> bytes:
            stream.respond(Reply(413))
            return b""

        with a_play(a_filter("a", on_request_data=refuse)) as play:
            client = play.client()
            client >> POST + b"abcdef"
            assert client.take().startswith(b"HTTP/1.1 413 ")

    def test_an_answer_is_changed_piece_by_piece(self) -> None:
        def begin(_: FilterStream, response: Response) -> None:
            response.headers.remove(b"content-length")
            response.length = CHUNKED

        def shout(_: FilterStream, data: bytes, end: bool) -> bytes:
            return data.upper() + (b"!" if end else b"")

        with a_play(a_filter("a", on_response=begin, on_response_data=shout)) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
            up >> b"ab"
            up >> b"cd"
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            client << head + b"2\r\nAB\r\n2\r\nCD\r\n1\r\n!\r\n0\r\n\r\n"

    def test_ends_are_told_once(self) -> None:
        told: list[str] = []

        def ends(name: str) -> Callable[[FilterStream, Headers | None], None]:
            return lambda stream, trailers: told.append(name)

        one = a_filter("a", on_request_end=ends("request"), on_response_end=ends("response"))
        with a_play(one) as play:
            client = play.client()
            client >> GET
            up = play.accept()
            up >> OK
            client >> POST + b"abcdef"
            up >> b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            up >> b"2\r\nok\r\n0\r\n\r\n"
            assert told == ["request", "response"] * 2


class TestOverrides:
    def play_of(self, filters: model.HttpFilter, **configs: object) -> Playbook:
        """One route whose virtual host and own configuration of the filter `a` are given."""
        one = model.Route(
            model.RouteMatch(prefix="/"),
            model.RouteAction("a"),
            filter_configs={"a": configs["route"]} if "route" in configs else {},
        )
        host = {"a": configs["host"]} if "host" in configs else {}
        table = routes(one, filter_configs=host)
        config = snapshot([listener(table, filters=(filters, ROUTER))], [a_cluster()])
        return Playbook(config=config)

    def exchange(self, play: Playbook) -> None:
        client = play.client()
        client >> GET
        play.upstream() >> OK
        client << OK

    def test_the_most_specific_comes_first(self) -> None:
        notes: list[str] = []
        one = noting(notes, "a")
        with self.play_of(one, route="of the route", host="of the host") as play:
            self.exchange(play)
            self.exchange(play)
            assert one.config.seen == [(), ("of the route", "of the host")]  # type: ignore[attr-defined]

    def test_a_route_leaves_a_filter_out(self) -> None:
        notes: list[str] = []
        with self.play_of(noting(notes, "a"), route=Disabled()) as play:
            self.exchange(play)
            assert notes == []

    def test_a_route_puts_in_what_its_host_leaves_out(self) -> None:
        notes: list[str] = []
        with self.play_of(noting(notes, "a"), route="own", host=Disabled()) as play:
            self.exchange(play)
            assert notes[0] == "request a"

    @pytest.mark.parametrize("config", [Enabled(), "own"])
    def test_a_filter_that_is_off_is_put_in(self, config: object) -> None:
        notes: list[str] = []
        one = noting(notes, "a")
        off = model.HttpFilter("a", one.type_url, one.config, disabled=True)
        with self.play_of(off, route=config) as play:
            self.exchange(play)
            assert notes[0] == "request a"
        with self.play_of(off) as play:
            notes.clear()
            self.exchange(play)
            assert notes == []


def test_another_route_after_the_request_was_changed() -> None:
    def change(stream: FilterStream) -> None:
        stream.request.path = b"/b"
        stream.reroute()

    notes: list[str] = []
    filters = a_filter("first", on_request=change), noting(notes, "second")
    with Playbook(
        route("/b", "b"),
        route(),
        clusters=[a_cluster("a"), a_cluster("b")],
        filters=(*filters, ROUTER),
    ) as play:
        client = play.client()
        client >> GET
        up = play.accept()
        assert up.connection.cluster.name == "b"
        assert notes == ["request second"]
        up >> OK


def test_another_route_that_leaves_out_a_filter_before_the_one_that_asks() -> None:
    notes: list[str] = []

    def change(stream: FilterStream) -> None:
        if stream.request.path != b"/b":
            stream.request.path = b"/b"
            stream.reroute()

    lean = model.Route(
        model.RouteMatch(prefix="/b"), model.RouteAction("a"), filter_configs={"a": Disabled()}
    )
    filters = noting(notes, "a"), a_filter("b", on_request=change), noting(notes, "c")
    config = snapshot([listener(routes(lean, route()), filters=(*filters, ROUTER))], [a_cluster()])
    with Playbook(config=config) as play:
        client = play.client()
        client >> GET
        assert notes == ["request a", "request c"]
        play.accept() >> OK
        client << OK


def test_what_comes_behind_an_early_answer_concerns_nobody() -> None:
    """The answer is whole but goes out slowly: hooks see no more of the request, and its end
    begins no timeout."""
    seen: list[bytes] = []

    def see(_: FilterStream, data: bytes, end: bool) -> bytes:
        seen.append(data)
        return data

    slow = a_filter("a", on_request=lambda stream: stream.throttle(1024), on_request_data=see)
    with Playbook(route(timeout_s=1.0), filters=(slow, ROUTER)) as play:
        client = play.client()
        client >> POST + b"abc"
        play.accept() >> b"HTTP/1.1 413 Large\r\ncontent-length: 2048\r\n\r\n" + b"x" * 2048
        client >> b"def"
        play.tick(3.0)
        assert client.take().endswith(b"\r\n\r\n" + b"x" * 2048)
        assert seen == [b"abc"]
        assert play.logged == [(413, "", "via_upstream")]
