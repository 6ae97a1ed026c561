"""Virtual hosts by name: who asked, what they are called, and what a table gets of them."""

from __future__ import annotations

from proxy.config.model import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from proxy.config.model.routes import MirrorPolicy, WeightedCluster
from proxy.xds.fetched import CLUSTERS_AT_ONCE, Fetched, clusters_of
from proxy.xds.raw import Raw

TABLE = RouteConfiguration("t", fetches_hosts=True)


def host(*domains: str, cluster: str = "a") -> VirtualHost:
    return VirtualHost(domains[0], domains, (to(cluster),))


def to(cluster: str) -> Route:
    return Route(RouteMatch(prefix="/"), RouteAction(cluster=cluster))


class Feed:
    def __init__(self, *asked: str) -> None:
        self.fetched = Fetched()
        self.fetched.ask(asked)

    def put(self, name: str, model: VirtualHost, *aliases: str, version: str = "1") -> None:
        self.fetched.accept(Raw("", name, version, b"", 0.0, aliases), model)

    def domains(self, table: RouteConfiguration = TABLE) -> list[tuple[str, ...]]:
        return [one.domains for one in self.fetched.joined(table).virtual_hosts]


def test_a_virtual_host_is_known_by_the_name_that_was_asked_for() -> None:
    feed = Feed("t/one", "t/two", "other/x")
    feed.put("t/own", host("one", "one:80"), "t/one")
    assert feed.fetched.answers() == {"t/one": True}
    assert feed.domains() == [("one", "one:80")]
    feed.put("t/two", host("two"))
    assert feed.fetched.answers() == {"t/one": True, "t/two": True}
    feed.put("t/unwanted", host("three"))
    assert feed.domains() == [("one", "one:80"), ("two",)]
    assert feed.fetched.versions() == {"t/own": "1", "t/two": "1"}
    assert [one.aliases for one in feed.fetched.raws()] == [("t/one",), ("t/two",)]


def test_a_name_may_turn_out_to_be_somebody_elses() -> None:
    feed = Feed("t/one")
    feed.put("t/old", host("one"), "t/one")
    feed.put("t/new", host("one", cluster="b"), "t/one")
    (found,) = feed.fetched.joined(TABLE).virtual_hosts
    assert found.routes == (to("b"),)
    assert feed.fetched.clusters() == {"b"}


def test_what_is_gone_by_either_name_is_absent_until_it_comes() -> None:
    for gone in ("t/own", "t/one"):
        feed = Feed("t/one")
        feed.put("t/own", host("one"), "t/one")
        feed.fetched.deny(gone)
        assert feed.fetched.answers() == {"t/one": False}
        assert feed.domains() == []
        feed.put("t/own", host("one"), "t/one")
        assert feed.fetched.answers() == {"t/one": True}


def test_a_name_that_is_not_asked_for_any_more_takes_its_virtual_host_with_it() -> None:
    feed = Feed("t/one", "t/uno")
    feed.put("t/own", host("one", "uno"), "t/one", "t/uno")
    feed.fetched.ask(["t/uno"])
    assert feed.domains() == [("one", "uno")]
    feed.fetched.ask([])
    assert feed.domains() == []
    assert feed.fetched.answers() == {}


def test_a_wildcard_serves_the_hosts_that_were_asked_for() -> None:
    """Another one below it may have a virtual host of its own."""
    feed = Feed("t/a.x.test", "t/b.x.test")
    feed.put("t/*.x.test", host("*.x.test", "x.test"), "t/a.x.test")
    assert feed.domains() == [("x.test", "a.x.test")]
    feed.put("t/*.x.test", host("*.x.test", "x.test"), "t/a.x.test", "t/b.x.test")
    assert feed.domains() == [("x.test", "a.x.test", "b.x.test")]
    portless = RouteConfiguration("t", fetches_hosts=True, ignore_port_in_host_matching=True)
    feed = Feed("t/b.x.test:80")
    feed.put("t/*.x.test", host("*.x.test"), "t/b.x.test:80")
    assert feed.domains(portless) == [("b.x.test",)]


def test_a_tables_own_virtual_hosts_come_first() -> None:
    feed = Feed("t/one")
    feed.put("t/one", host("one", "more"))
    own = RouteConfiguration("t", (host("ONE"),), fetches_hosts=True)
    assert feed.domains(own) == [("ONE",), ("more",)]


def test_a_table_is_the_same_object_until_something_of_it_changes() -> None:
    feed = Feed("t/one", "u/one")
    feed.put("t/one", host("one"))
    before = feed.fetched.joined(TABLE)
    assert feed.fetched.joined(TABLE) is before
    feed.put("t/one", host("one"), version="2")
    feed.put("u/one", host("one"))
    assert feed.fetched.joined(TABLE) is before
    feed.put("t/one", host("one", cluster="b"))
    assert feed.fetched.joined(TABLE) is not before


def test_its_clusters_are_asked_for_at_once_unless_they_are_many() -> None:
    shares = tuple(WeightedCluster(f"w{number}", 1) for number in range(CLUSTERS_AT_ONCE))
    copy = (MirrorPolicy("copy"),)
    route = Route(RouteMatch(prefix="/"), RouteAction(weighted=shares, mirrors=copy))
    assert clusters_of(VirtualHost("v", ("v",), (route,))) == {"copy", *(w.name for w in shares)}
    assert clusters_of(VirtualHost("v", ("v",), (route, to("more")))) == {"copy"}
