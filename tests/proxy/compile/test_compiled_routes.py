"""What a route does to a request and its answer, as it arrives at either end."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from proxy.config import model
from tests.support.playbook import (
    Playbook,
    cluster,
    listener,
    retries,
    route,
    routes,
    snapshot,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def get(path: bytes = b"/", *lines: bytes, host: bytes = b"a") -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"host: " + host, *lines, b"", b""])


def add(name: str, value: str, action: Any = "APPEND_IF_EXISTS_OR_ADD") -> model.HeaderValueOption:
    return model.HeaderValueOption(name, value, action)


def exchange(play: Playbook, request: bytes, answer: bytes = OK) -> tuple[bytes, bytes]:
    """What reached the upstream and what came back."""
    client = play.client()
    client >> request
    up = play.upstream()
    asked = up.take()
    up >> answer
    return asked, client.take()


class TestEdits:
    def test_levels(self) -> None:
        """The most specific first, so that the least specific one has the last word."""
        levels = [
            model.HeaderEdits(request_add=(add("x", name, "OVERWRITE_IF_EXISTS_OR_ADD"),))
            for name in ("route", "host", "table")
        ]
        one = replace(route(), edits=levels[0])
        for wins, last in ((False, b"table"), (True, b"route")):
            table = replace(
                routes(one, edits=levels[1]),
                edits=levels[2],
                most_specific_header_mutations_wins=wins,
            )
            with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
                asked, _ = exchange(play, get(b"/", b"x: client"))
                assert asked == get(b"/", b"x: " + last)

    @pytest.mark.parametrize(
        "action, there, absent",
        [
            ("APPEND_IF_EXISTS_OR_ADD", [b"x: old", b"x: new"], [b"x: new"]),
            ("ADD_IF_ABSENT", [b"x: old"], [b"x: new"]),
            ("OVERWRITE_IF_EXISTS_OR_ADD", [b"x: new"], [b"x: new"]),
            ("OVERWRITE_IF_EXISTS", [b"x: new"], []),
        ],
    )
    def test_append_actions(self, action: str, there: list[bytes], absent: list[bytes]) -> None:
        edits = model.HeaderEdits(request_add=(add("x", "new", action),))
        with Playbook(replace(route(), edits=edits)) as play:
            assert exchange(play, get(b"/", b"x: old"))[0] == get(b"/", *there)
            assert exchange(play, get(b"/"))[0] == get(b"/", *absent)

    def test_removals_come_before_additions(self) -> None:
        edits = model.HeaderEdits(
            request_add=(add("x", "new"),),
            request_remove=("X",),
            response_add=(add("y", "new"),),
            response_remove=("y",),
        )
        with Playbook(replace(route(), edits=edits)) as play:
            answer = OK.replace(b"\r\n\r\n", b"\r\ny: old\r\n\r\n")
            asked, came = exchange(play, get(b"/", b"x: old"), answer)
            assert asked == get(b"/", b"x: new")
            assert b"\r\ny: new\r\n" in came and b"old" not in came

    def test_empty_values(self) -> None:
        empty = model.HeaderValueOption("x", "%REQ(absent)%")
        for keep, expected in ((False, []), (True, [b"x: "])):
            one = replace(empty, keep_empty_value=keep)
            edits = model.HeaderEdits(request_add=(one,))
            with Playbook(replace(route(), edits=edits)) as play:
                asked, _ = exchange(play, get())
                assert (b"x: " in asked) is bool(expected)

    def test_our_own_answers_are_edited_too(self) -> None:
        edits = model.HeaderEdits(response_add=(add("x", "%RESPONSE_CODE%"),))
        direct = model.Route(
            model.RouteMatch(prefix="/"), model.DirectResponse(201, b"hi"), edits=edits
        )
        with Playbook(direct) as play:
            client = play.client()
            client >> get()
            assert b"\r\nx: 0\r\n" in client.take()  # not sent yet (Envoy)


class TestRewrites:
    def test_prefix(self) -> None:
        with Playbook(route("/a", prefix_rewrite="/b")) as play:
            assert exchange(play, get(b"/a/c?q"))[0] == get(b"/b/c?q")

    def test_regex(self) -> None:
        rewrite = model.RegexRewrite("^/(.*)/(.*)$", r"/\2/\1")
        with Playbook(route(regex_rewrite=rewrite)) as play:
            assert exchange(play, get(b"/a/b?c"))[0] == get(b"/b/a?c")

    def test_host(self) -> None:
        with Playbook(route(host_rewrite="b", append_x_forwarded_host=True)) as play:
            asked, _ = exchange(play, get(host=b"a:81"))
            assert asked == get(b"/", b"x-forwarded-host: a:81", host=b"b")
            asked, _ = exchange(play, get(b"/", b"x-forwarded-host: z"))
            assert asked == get(b"/", b"x-forwarded-host: z,a", host=b"b")

    def test_host_from_a_header(self) -> None:
        with Playbook(route(host_rewrite_header="x-h")) as play:
            assert exchange(play, get(b"/", b"x-h: b"))[0] == get(b"/", b"x-h: b", host=b"b")
            assert exchange(play, get(b"/"))[0] == get(b"/")

    def test_host_of_the_endpoint(self) -> None:
        one = model.Endpoint(model.SocketAddress("10.0.0.1", 80), hostname="h.test")
        group = model.LocalityEndpoints(("", "", ""), (one,))
        named = model.Cluster("a", load_assignment=model.ClusterLoadAssignment("a", (group,)))
        with Playbook(route(auto_host_rewrite=True), clusters=[named]) as play:
            assert exchange(play, get())[0] == get(host=b"h.test")

    def test_envoy_headers(self) -> None:
        """What the router tells the upstream, unless it is suppressed."""
        one = route("/a", prefix_rewrite="/b", timeout_s=2.0)
        with Playbook(one, suppress_envoy_headers=False) as play:
            asked, came = exchange(play, get(b"/a/c"))
            assert b"\r\nx-envoy-original-path: /a/c\r\n" in asked
            assert b"\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n" in asked
            assert re.search(rb"\r\nx-envoy-upstream-service-time: \d+\r\n", came)
        with Playbook(one) as play:
            asked, came = exchange(play, get(b"/a/c"))
            assert b"x-envoy" not in asked + came


class TestClusters:
    def test_by_header(self) -> None:
        action = model.RouteAction(cluster_header="x-to", cluster_not_found_status=404)
        one = model.Route(model.RouteMatch(prefix="/"), action)
        with Playbook(one) as play:
            asked, _ = exchange(play, get(b"/", b"x-to: a"))
            assert asked == get(b"/", b"x-to: a")
            for lines in ([b"x-to: b"], []):
                client = play.client()
                client >> get(b"/", *lines)
                assert client.take().startswith(b"HTTP/1.1 404 ")

    def test_weights(self) -> None:
        edits = model.HeaderEdits(
            request_add=(add("x-to", "b"),), response_add=(add("x-from", "b"),)
        )
        weighted = (
            model.WeightedCluster("a", 1),
            model.WeightedCluster("b", 3, edits, host_rewrite="b.test"),
            model.WeightedCluster("never", 0),
        )
        one = model.Route(model.RouteMatch(prefix="/"), model.RouteAction(weighted=weighted))
        with Playbook(one, clusters=[cluster("a"), cluster("b")]) as play:
            seen: Counter[bytes] = Counter()
            for _ in range(400):
                client = play.client()
                client >> get()
                while play.openings:
                    play.accept()
                up = next(p for p in play.peers if len(p.transport.written) > p._seen)
                asked = up.take()
                up >> OK
                came = client.take()
                client.leave()
                to_b = b"x-to: b\r\n" in asked
                assert to_b == (b"host: b.test\r\n" in asked) == (b"x-from: b\r\n" in came)
                seen[b"b" if to_b else b"a"] += 1
            assert 270 <= seen[b"b"] <= 330

    def test_weights_that_runtime_takes_away(self) -> None:
        """With none left there is no route (Envoy)."""
        weighted = (model.WeightedCluster("a", 100), model.WeightedCluster("b", 0))
        action = model.RouteAction(weighted=weighted, weighted_runtime_prefix="w")
        one = model.Route(model.RouteMatch(prefix="/"), action)
        with Playbook(one, clusters=[cluster("a"), cluster("b")]) as play:
            play.worker.runtime.override({"w.a": "0", "w.b": "1"})
            client = play.client()
            client >> get()
            up = play.accept()
            assert up.connection.cluster.name == "b"
            up >> OK
            client << OK
            play.worker.runtime.override({"w.b": "0"})
            client >> get()
            assert client.take().startswith(b"HTTP/1.1 404 ")
            assert play.logged[-1] == (404, "NR", "route_not_found")


class TestOwnAnswers:
    def test_redirect(self) -> None:
        action = model.RedirectAction(https=True, path="/n", status=308)
        with Playbook(model.Route(model.RouteMatch(prefix="/"), action)) as play:
            client = play.client()
            client >> get(b"/x?q")
            client << (
                b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://a/n?q\r\n"
                b"content-length: 0\r\n\r\n"
            )

    def test_direct(self) -> None:
        with Playbook(model.Route(model.RouteMatch(prefix="/"), model.DirectResponse(204))) as play:
            client = play.client()
            client >> get() * 2
            client << b"HTTP/1.1 204 No Content\r\n\r\n" * 2

    def test_a_body_where_none_may_be(self) -> None:
        """RFC 9110 section 6.4.1: it would be taken for the next answer."""
        direct = model.DirectResponse(204, b"HTTP/1.1 200 OK\r\n\r\n")
        with Playbook(model.Route(model.RouteMatch(prefix="/"), direct)) as play:
            client = play.client()
            client >> get()
            assert client.take().count(b"HTTP/1.1") == 1

    def test_plaintext_is_sent_to_https(self) -> None:
        table = routes(route("/a"), require_tls="ALL")
        with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
            client = play.client()
            client >> get(b"/a?q")
            came = client.take()
            assert came.startswith(b"HTTP/1.1 301 ") and b"location: https://a/a?q\r\n" in came
            client >> get(b"/b")  # before anybody looks for a route
            assert client.take().startswith(b"HTTP/1.1 301 ")


class TestRetryPolicies:
    BAD = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"

    @pytest.mark.parametrize("count", [True, False])
    def test_of_the_virtual_host_and_attempts_told(self, count: bool) -> None:
        table = routes(
            route(),
            retry=retries("5xx"),
            include_request_attempt_count=count,
            include_attempt_count_in_response=count,
        )
        with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
            client = play.client()
            client >> get()
            up = play.accept()
            assert (b"x-envoy-attempt-count: 1\r\n" in up.take()) is count
            up >> self.BAD
            play.tick(0.3)
            assert (b"x-envoy-attempt-count: 2\r\n" in up.take()) is count
            up >> OK
            assert (b"x-envoy-attempt-count: 2\r\n" in client.take()) is count

    def test_the_route_has_its_own(self) -> None:
        table = routes(route(retry=retries("reset")), retry=retries("5xx"))
        with Playbook(config=snapshot([listener(table)], [cluster()])) as play:
            _, came = exchange(play, get(), self.BAD)
            assert came.startswith(b"HTTP/1.1 503 ")
