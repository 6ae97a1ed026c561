"""Tables that get more virtual hosts while they are used: what is there stays as it is."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from proxy.compile.routes.place import RouteContext
from proxy.compile.routes.tables import CompiledTable
from proxy.config.model import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.l7.entry import RouteEntry
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from tests.support.filters import FakeStream

CONTEXT = RouteContext({}, Random(1), RuntimeValues(), Stats(), True)


def host(*domains: str, cluster: str = "a") -> VirtualHost:
    action = RouteAction(cluster=cluster)
    return VirtualHost(domains[0], domains, (Route(RouteMatch(prefix="/"), action),))


def routes(*hosts: VirtualHost, **fields: Any) -> RouteConfiguration:
    return replace(RouteConfiguration("t", hosts), **fields)


def found(compiled: CompiledTable, name: bytes) -> RouteEntry | None:
    request = Request(b"GET", b"/", name, Headers.of(()))
    return compiled.table.find(request, FakeStream())


def test_it_gets_more_virtual_hosts_without_being_made_anew() -> None:
    one, two = host("one"), host("two", "*.two", cluster="b")
    compiled = CompiledTable(routes(one), CONTEXT)
    before = found(compiled, b"one")
    assert found(compiled, b"two") is found(compiled, b"x.two") is None
    table = compiled.table
    assert compiled.follow(routes(one, two))
    assert compiled.table is table
    assert found(compiled, b"one") is before
    for name in (b"two", b"TWO", b"x.two"):
        entry = found(compiled, name)
        assert entry is not None
        assert entry.cluster_name == "b"


def test_a_domain_that_comes_later_takes_hosts_from_a_wildcard() -> None:
    wild, exact = host("*.test"), host("x.test", cluster="b")
    compiled = CompiledTable(routes(wild, ignore_port_in_host_matching=True), CONTEXT)
    before = found(compiled, b"X.test:80")
    assert before is not None
    assert before.cluster_name == "a"
    assert compiled.follow(routes(wild, exact, ignore_port_in_host_matching=True))
    after = found(compiled, b"X.test:80")
    assert after is not None
    assert after.cluster_name == "b"


def test_any_other_change_makes_a_table_of_the_virtual_hosts_that_did_not() -> None:
    one, two = host("one"), host("two")
    compiled = CompiledTable(routes(one, two), CONTEXT)
    for other in (routes(one), routes(one, host("two", cluster="b")), routes(two, one)):
        assert not compiled.follow(other)
    changed = CompiledTable(routes(one, host("two", cluster="b")), CONTEXT, compiled)
    assert found(changed, b"one") is found(compiled, b"one")
    assert found(changed, b"two") is not found(compiled, b"two")
    stricter = routes(one, two, ignore_path_parameters=True)
    assert not compiled.follow(stricter)
    anew = CompiledTable(stricter, CONTEXT, compiled)
    assert found(anew, b"one") is not found(compiled, b"one")


def test_it_tells_which_hosts_requests_have_named() -> None:
    compiled = CompiledTable(routes(host("one")), CONTEXT)
    found(compiled, b"One")
    found(compiled, b"two")
    assert sorted(compiled.table.lately()) == [b"One", b"two"]
