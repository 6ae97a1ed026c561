"""Which route a request gets: domains by Envoy's precedence, then the first route that matches."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import (
    CidrRange,
    FilterStateMatcher,
    FractionalPercent,
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
    StringMatcher,
)
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.route import table as room
from proxy.route.first_match import FEW, Candidate, first_match
from proxy.route.matching import route_matches
from proxy.route.table import Table
from proxy.runtime import RuntimeValues


def a_request(host: bytes = b"a", path: bytes = b"/", *pairs: tuple[bytes, bytes]) -> Request:
    return Request(b"GET", path, host, Headers.of(pairs))


def hosts(*domains: str, ignore_port: bool = False) -> Table[str]:
    table: Table[str] = Table(ignore_port)
    for domain in domains:
        table.add([domain], lambda _, __, found=domain: found)  # type: ignore[misc]
    return table


SEEN: Any = None  # most routes look at nothing but the request


def matching(config: RouteMatch, seed: int = 1) -> Any:
    return route_matches(config, Random(seed), RuntimeValues())


DOMAINS = ("*", "*.foo.com", "*-bar.foo.com", "foo.*", "foo.b*", "foo.com", "foo.com:8080", "*com")


@pytest.mark.parametrize(
    "host, domain",
    [
        (b"foo.com", "foo.com"),
        (b"FOO.com", "foo.com"),
        (b"foo.com:8080", "foo.com:8080"),
        (b"foo.com:81", "foo.*"),
        (b"a.foo.com", "*.foo.com"),
        (b"a-bar.foo.com", "*-bar.foo.com"),  # the longest suffix
        (b".foo.com", "*com"),  # a wildcard stands for one character at least
        (b"-bar.foo.com", "*.foo.com"),
        (b"x.com", "*com"),  # suffixes before prefixes
        (b"foo.bcom", "*com"),
        (b"foo.bar", "foo.b*"),  # the longest prefix
        (b"foo.de", "foo.*"),
        (b"foo.b", "foo.*"),
        (b"other", "*"),
        (b"", "*"),
    ],
)
def test_domain_precedence(host: bytes, domain: str) -> None:
    for order in (DOMAINS, DOMAINS[::-1]):
        table = hosts(*order)
        for _ in range(2):  # looked up, then remembered
            assert table.find(a_request(host), SEEN) == domain


def test_no_domain() -> None:
    assert hosts("b").find(a_request(b"a"), SEEN) is None


@pytest.mark.parametrize(
    "host, found",
    [
        (b"a", "a"),
        (b"a:81", "a"),
        (b"[::1]:81", "[::1]"),
        (b"[::1]", "[::1]"),
        (b"b:81", None),
    ],
)
def test_ignoring_the_port(host: bytes, found: str | None) -> None:
    assert hosts("a", "[::1]", ignore_port=True).find(a_request(host), SEEN) == found


def test_a_host_without_a_matching_route_falls_through_to_nobody() -> None:
    table: Table[str] = Table()
    table.add(["a"], lambda _, __: None)
    table.add(["*"], lambda _, __: "any")
    assert table.find(a_request(b"a"), SEEN) is None


def test_a_header_that_stands_for_the_host() -> None:
    table: Table[str] = Table(host_header=b"x-vh")
    table.add(["a"], lambda _, __: "a")
    table.add(["*"], lambda _, __: "any")
    for pairs, found in (
        ([(b"x-vh", b"A")], "a"),
        ([(b"x-vh", b"a:80")], "any"),
        ([], None),
    ):
        assert table.find(a_request(b"a", b"/", *pairs), SEEN) == found


def candidates(*configs: RouteMatch) -> list[Candidate[int]]:
    return [Candidate(config, matching(config), at) for at, config in enumerate(configs)]


def test_the_first_route_wins() -> None:
    find = first_match(candidates(RouteMatch(path="/x"), RouteMatch(prefix="/"), RouteMatch("/")))
    assert find(a_request(b"a", b"/x"), SEEN) == 0
    assert find(a_request(b"a", b"/y"), SEEN) == 1


def test_only_a_connect_route_takes_a_connect() -> None:
    connect = Request(b"CONNECT", b"", b"a:1", Headers())
    listed = candidates(RouteMatch(prefix="/"), RouteMatch(connect=True))
    assert first_match(listed)(connect, SEEN) == 1
    assert first_match(listed)(a_request(), SEEN) == 0
    assert first_match(listed[:1])(connect, SEEN) is None
    many = candidates(*[RouteMatch(path=f"/{at}") for at in range(20)], RouteMatch(connect=True))
    assert first_match(many)(connect, SEEN) == 20


SOME_PATHS = ["/", "/a", "/a/b", "/ab", "/b", "/b/c/d", "/c"]
A_ROUTE = st.one_of(
    st.builds(RouteMatch, prefix=st.sampled_from(SOME_PATHS)),
    st.builds(RouteMatch, path=st.sampled_from(SOME_PATHS)),
    st.builds(RouteMatch, path_separated_prefix=st.sampled_from(SOME_PATHS[1:])),
    st.builds(RouteMatch, regex=st.sampled_from(["/a.*", "/b/.", ".*c"])),
    st.builds(RouteMatch, prefix=st.sampled_from(["/A", "/b"]), case_sensitive=st.just(False)),
)


@given(st.lists(A_ROUTE, min_size=FEW + 1, max_size=30), st.sampled_from(SOME_PATHS))
def test_the_index_of_many_routes_keeps_their_order(configs: list[RouteMatch], path: str) -> None:
    listed = candidates(*configs)
    for spelled in (path, f"{path}?q=/a", f"{path}/x", path.upper()):
        request = a_request(b"a", spelled.encode())
        takes = [c.target for c in listed if c.matches is None or c.matches(request, SEEN)]
        assert first_match(listed)(request, SEEN) == (takes[0] if takes else None)


def test_remembered_hosts_are_bounded() -> None:
    table = hosts("*")
    for at in range(3 * room.MAX_SEEN):
        table.find(a_request(b"h%d" % at), SEEN)
        assert len(table._seen) <= room.MAX_SEEN


PATHS: list[tuple[dict[str, Any], bytes, bool]] = [
    ({"prefix": "/"}, b"/any?q", True),
    ({"prefix": "/"}, b"*", True),
    ({"prefix": "/a"}, b"/a", True),
    ({"prefix": "/a"}, b"/ab/c", True),
    ({"prefix": "/a"}, b"/?/a", False),
    ({"prefix": "/a"}, b"/A", False),
    ({"prefix": "/a", "case_sensitive": False}, b"/A?x", True),
    ({"prefix": "/A", "case_sensitive": False}, b"/ab", True),
    ({"prefix": "/a?x"}, b"/a?x=1", False),  # the query is not part of it
    ({"path": "/a"}, b"/a", True),
    ({"path": "/a"}, b"/a?x", True),
    ({"path": "/a"}, b"/a/", False),
    ({"path": "/a"}, b"/A", False),
    ({"path": "/a", "case_sensitive": False}, b"/A", True),
    ({"path_separated_prefix": "/a"}, b"/a", True),
    ({"path_separated_prefix": "/a"}, b"/a?x", True),
    ({"path_separated_prefix": "/a"}, b"/a/b", True),
    ({"path_separated_prefix": "/a"}, b"/ab", False),
    ({"path_separated_prefix": "/a", "case_sensitive": False}, b"/A/b", True),
    ({"regex": "/a/[0-9]+"}, b"/a/12?x=y", True),
    ({"regex": "/a/[0-9]+"}, b"/a/12/b", False),
    ({"regex": "/a.*"}, b"/x/a", False),
    ({"regex": "/a\\?x"}, b"/a?x", False),
]


@pytest.mark.parametrize("fields, path, verdict", PATHS)
def test_paths(fields: dict[str, Any], path: bytes, verdict: bool) -> None:
    matches = matching(RouteMatch(**fields))
    assert (matches is None or matches(a_request(b"a", path), SEEN)) is verdict


GRPC = (b"content-type", b"application/grpc")


@pytest.mark.parametrize(
    "kind, verdict",
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ],
)
def test_grpc(kind: bytes, verdict: bool) -> None:
    matches = matching(RouteMatch(prefix="/", grpc=True))
    assert matches is not None
    assert matches(a_request(b"a", b"/", (b"content-type", kind)), SEEN) is verdict
    assert not matches(a_request(), SEEN)


def test_all_tests_must_agree() -> None:
    config = RouteMatch(
        prefix="/p",
        headers=(HeaderMatcher("x", StringMatcher("exact", "1")), HeaderMatcher("y")),
        query_parameters=(QueryParameterMatcher("q", present=True),),
        grpc=True,
    )
    matches = matching(config)
    assert matches is not None
    good = [(b"x", b"1"), (b"y", b""), GRPC]
    assert matches(a_request(b"a", b"/p?q", *good), SEEN)
    assert not matches(a_request(b"a", b"/o?q", *good), SEEN)
    assert not matches(a_request(b"a", b"/p", *good), SEEN)
    for missing in range(3):
        assert not matches(a_request(b"a", b"/p?q", *good[:missing], *good[missing + 1 :]), SEEN)


def test_a_share_of_the_requests() -> None:
    config = RouteMatch(prefix="/", runtime_fraction=FractionalPercent(30))
    matches = matching(config, 3)
    assert matches is not None
    assert 250 < sum(matches(a_request(), SEEN) for _ in range(1000)) < 350


def test_everything_needs_no_test() -> None:
    assert matching(RouteMatch(prefix="/")) is None


PARAMETERS: list[tuple[dict[str, Any], bytes, bool]] = [
    ({"path": "/a/b"}, b"/a;x=1/b;y", True),
    ({"path": "/a"}, b"/a;x=1?q=1", True),
    ({"path": "/a"}, b"/a;x?y/b", True),  # the query may say what it wants
    ({"prefix": "/a/b"}, b"/a;x/b", True),
    ({"path_separated_prefix": "/a"}, b"/a;x/c", True),
    ({"path": "/a", "case_sensitive": False}, b"/A;x", True),
    ({"regex": "/a"}, b"/a;x", True),
    ({"path": "/a"}, b"/b;/a", False),
]


@pytest.mark.parametrize("fields, path, verdict", PARAMETERS)
def test_path_parameters_are_ignored(fields: dict[str, Any], path: bytes, verdict: bool) -> None:
    matches = route_matches(RouteMatch(**fields), Random(1), RuntimeValues(), True)
    assert matches is not None
    assert matches(a_request(b"a", path), SEEN) is verdict


def seen(peer: object = None, **filter_state: str) -> Any:
    return SimpleNamespace(info=SimpleNamespace(peer=peer), filter_state=filter_state)


@pytest.mark.parametrize("field", ["tls_presented", "tls_validated"])
def test_the_clients_certificate(field: str) -> None:
    for wanted in (True, False):
        fields: dict[str, Any] = {field: wanted}
        matches = matching(RouteMatch(prefix="/", **fields))
        assert matches(a_request(), seen(peer=object())) is wanted
        assert matches(a_request(), seen()) is not wanted


def test_filter_state() -> None:
    exact = FilterStateMatcher("who", StringMatcher("exact", "None"))
    inside = FilterStateMatcher("who", ranges=(CidrRange("10.0.0.0", 8),))
    for matcher, value, verdict in (
        (exact, "None", True),
        (exact, "other", False),
        (inside, "10.1.2.3", True),
        (inside, "11.1.2.3", False),
        (inside, "no address", False),
    ):
        matches = matching(RouteMatch(prefix="/", filter_state=(matcher,)))
        assert matches(a_request(), seen(who=value)) is verdict
        assert not matches(a_request(), seen())
