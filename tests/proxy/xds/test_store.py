"""The store as a transcript: what comes in, what is warm after it, what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.config.bootstrap import decode_bootstrap
from proxy.config.decode import decode
from proxy.config.model import Bootstrap, DataSource, Secret, TlsCertificate
from proxy.config.rejected import Rejected
from proxy.xds.store import FETCH_TIMEOUT_S, Store
from tests.support.envoy_resources import (
    cluster,
    endpoints,
    listener,
    routes,
    tls_cluster,
    trust_bundle,
)
from tests.support.pki import Authority

BOOTSTRAP = Bootstrap(cds_ads=True, lds_ads=True)
MAKERS = {CDS: cluster, EDS: endpoints, LDS: listener, RDS: routes}


class Feed:
    """A store with words for what happens to it; `now` moves only when told."""

    def __init__(self, bootstrap: Bootstrap = BOOTSTRAP) -> None:
        self.now = 100.0
        self.store = Store(bootstrap, frozenset({"default"}), self.now)

    def put(self, type_url: str, message: object, version: str = "1") -> None:
        body = message.SerializeToString()  # type: ignore[attr-defined]
        model = decode(type_url, body)
        name = getattr(model, "name", "") or getattr(model, "cluster_name", "")
        self.store.accept(type_url, name, version, body, model, self.now, at_s=1e9)
        self.store.answered(type_url)
        self.store.advance(self.now)

    def gone(self, type_url: str, *names: str) -> None:
        self.store.remove(type_url, names, self.now)
        self.store.advance(self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.store.advance(self.now)

    @property
    def warm(self) -> tuple[list[str], list[str]]:
        """(clusters, listeners)."""
        snapshot = self.store.snapshot()
        return sorted(snapshot.clusters), sorted(snapshot.listeners)

    def asked(self, type_url: str) -> list[str] | None:
        names = self.store.subscriptions()[type_url]
        return None if names is None else sorted(names)


def test_a_cluster_waits_for_its_endpoints_and_a_listener_for_its_routes() -> None:
    feed = Feed()
    assert feed.store.subscriptions().keys() == {CDS, EDS, RDS, VHDS, SDS}
    feed.put(CDS, cluster("a"))
    assert feed.warm == ([], [])
    assert feed.asked(EDS) == ["a"]
    assert LDS not in feed.store.subscriptions()  # Envoy: listeners after the first clusters
    feed.put(EDS, endpoints("a", 1))
    assert feed.warm == (["a"], [])
    assert feed.asked(LDS) is None
    feed.put(LDS, listener("l", "r"))
    assert feed.warm == (["a"], [])
    assert feed.asked(RDS) == ["r"]
    assert feed.store.warming(LDS) == {"l"}
    feed.put(RDS, routes("r", "a"))
    assert feed.warm == (["a"], ["l"])
    assert feed.store.next_deadline() is None


def test_endpoints_and_routes_that_never_come_are_empty_after_the_fetch_timeout() -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    assert feed.store.next_deadline() == 100.0 + FETCH_TIMEOUT_S
    feed.pass_by(FETCH_TIMEOUT_S - 0.1)
    assert feed.warm == ([], [])
    feed.pass_by(0.1)
    assert feed.warm == (["a"], [])
    assert feed.store.snapshot().assignments["a"].localities == ()
    feed.put(LDS, listener("l", "r"))
    feed.pass_by(FETCH_TIMEOUT_S)
    assert feed.warm == (["a"], ["l"])
    assert feed.store.snapshot().routes["r"].virtual_hosts == ()


def test_listeners_are_asked_for_after_the_fetch_timeout_even_without_clusters() -> None:
    feed = Feed()
    feed.pass_by(FETCH_TIMEOUT_S)
    assert feed.asked(LDS) is None


def test_what_does_not_exist_is_not_waited_for() -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    feed.gone(EDS, "a")
    assert feed.warm == (["a"], [])


def test_endpoints_in_use_stay_when_the_control_plane_forgets_them() -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    feed.put(EDS, endpoints("a", 1))
    feed.gone(EDS, "a")
    assert len(feed.store.snapshot().assignments["a"].localities) == 1


def test_the_old_version_stays_while_the_new_one_waits_for_a_secret() -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    feed.put(EDS, endpoints("a", 1))
    feed.put(CDS, tls_cluster("a", "ROOTCA"), "2")
    assert feed.asked(SDS) == ["ROOTCA"]  # `default` is answered here
    feed.put(EDS, endpoints("a", 1, 2), "2")
    snapshot = feed.store.snapshot()
    assert snapshot.clusters["a"].tls is None
    assert len(snapshot.assignments["a"].localities[0].endpoints) == 2
    feed.put(SDS, trust_bundle("ROOTCA", Authority().pem))
    assert feed.store.snapshot().clusters["a"].tls is None
    feed.pass_by(1000.0)  # for a secret one waits without end
    assert feed.store.snapshot().clusters["a"].tls is None
    own = Secret("default", certificate=TlsCertificate(DataSource(b"c"), DataSource(b"k")))
    feed.store.set_local_secret(own, feed.now)
    snapshot = feed.store.snapshot()
    assert snapshot.clusters["a"].tls is not None
    assert snapshot.secrets.keys() == {"ROOTCA", "default"}
    assert snapshot.secrets["default"] is own


def test_two_clusters_may_share_endpoints_and_the_last_one_lets_them_go() -> None:
    feed = Feed()
    for name in ("a", "b"):
        shared = cluster(name)
        shared.eds_cluster_config.service_name = "s"
        feed.put(CDS, shared)
    assert feed.asked(EDS) == ["s"]
    feed.put(EDS, endpoints("s", 1))
    assert feed.store.snapshot().assignments.keys() == {"a", "b"}
    feed.gone(CDS, "a")
    assert feed.asked(EDS) == ["s"]
    assert feed.warm == (["b"], [])
    feed.gone(CDS, "b")
    assert feed.asked(EDS) == []
    assert feed.store.versions(EDS) == {}
    assert feed.store.snapshot().assignments == {}


def test_a_listener_in_the_place_of_another_keeps_its_routes() -> None:
    """Removal and addition come in one response, and the routes would not be sent again."""
    feed = Feed()
    feed.put(CDS, cluster("a"))
    feed.put(EDS, endpoints("a", 1))
    feed.put(LDS, listener("old", "r", 80))
    feed.put(RDS, routes("r", "a"))
    feed.store.remove(LDS, ["old"], feed.now)
    feed.put(LDS, listener("new", "r", 80))
    assert feed.warm == (["a"], ["new"])
    assert len(feed.store.snapshot().routes["r"].virtual_hosts) == 1


def test_two_listeners_cannot_have_one_address() -> None:
    feed = Feed()
    feed.put(LDS, listener("one", "r", 80))
    with pytest.raises(Rejected, match="listener `one` has the address"):
        feed.put(LDS, listener("two", "r", 80))
    feed.put(LDS, listener("one", "r2", 80), "2")  # itself is no other


def test_that_holds_for_additional_addresses_too() -> None:
    feed, one = Feed(), listener("one", "r", 80)
    more = one.additional_addresses.add().address.socket_address
    more.address, more.port_value = "::1", 81
    feed.put(LDS, one)
    other = listener("other", "r", 82)
    more = other.additional_addresses.add().address.socket_address
    more.address, more.port_value = "::1", 81
    with pytest.raises(Rejected, match=r"listener `one` has the address \[::1\]:81"):
        feed.put(LDS, other)


def test_static_resources_are_there_and_cannot_be_replaced() -> None:
    from envoy.config.bootstrap.v3 import bootstrap_pb2

    message = bootstrap_pb2.Bootstrap()
    fixed = message.static_resources.clusters.add(name="fixed")
    fixed.load_assignment.CopyFrom(endpoints("fixed", 9))
    feed = Feed(decode_bootstrap(message))
    snapshot = feed.store.snapshot()
    assert snapshot.assignments["fixed"].localities[0].endpoints[0].address.port == 9
    with pytest.raises(Rejected, match="static resource"):
        feed.put(CDS, cluster("fixed"))
    feed.gone(CDS, "fixed")
    assert feed.warm == (["fixed"], [])


def test_an_answer_to_a_question_that_is_no_longer_asked_is_dropped() -> None:
    feed = Feed()
    feed.put(EDS, endpoints("nobody", 1))
    assert feed.store.versions(EDS) == {}


def test_the_same_content_changes_nothing() -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    feed.put(EDS, endpoints("a", 1))
    before = feed.store.changes
    feed.put(CDS, cluster("a"), "2")
    feed.put(EDS, endpoints("a", 1), "2")
    assert feed.store.changes == before
    assert feed.store.versions(CDS) == {"a": "2"}


def test_what_was_accepted_can_be_listed_as_it_came() -> None:
    feed = Feed()
    message = cluster("a")
    feed.put(CDS, message, "7")
    (raw,) = feed.store.raws(CDS)
    assert (raw.name, raw.version, raw.body, raw.updated_at_s) == (
        "a",
        "7",
        message.SerializeToString(),
        1e9,
    )


def test_endpoints_that_are_not_said_again_are_stale() -> None:
    """`endpoint_stale_after`: each time that they come counts, and late ones are as good as new."""
    feed, held = Feed(), endpoints("a", 1)
    held.policy.endpoint_stale_after.FromSeconds(30)
    feed.put(CDS, cluster("a"))
    feed.put(EDS, held)
    feed.pass_by(20.0)
    feed.put(EDS, held, "2")
    feed.pass_by(29.0)
    assert feed.store.next_deadline() == feed.now + 1.0
    assert feed.store.snapshot().assignments["a"].localities
    feed.pass_by(1.0)
    left = feed.store.snapshot().assignments["a"]
    assert left.stale and not left.localities and feed.warm == (["a"], [])
    assert feed.store.next_deadline() is None
    feed.put(EDS, held, "3")
    assert feed.store.snapshot().assignments["a"].localities


def test_endpoints_without_that_word_never_are() -> None:
    feed, held = Feed(), endpoints("a", 1)
    held.policy.endpoint_stale_after.FromSeconds(30)
    feed.put(CDS, cluster("a"))
    feed.put(EDS, held)
    feed.put(EDS, endpoints("a", 2), "2")
    feed.pass_by(1000.0)
    assert feed.store.snapshot().assignments["a"].localities


def test_listeners_may_be_asked_for_by_name_beside_all_there_are() -> None:
    feed = Feed()
    feed.pass_by(FETCH_TIMEOUT_S)
    feed.store.demand([(LDS, "0.0.0.0_80"), (LDS, "0.0.0.0_81")])
    assert feed.asked(LDS) == ["*", "0.0.0.0_80", "0.0.0.0_81"]
    feed.put(LDS, listener("0.0.0.0_80", "80"))
    assert feed.store.snapshot().answers == {}  # its routes are not here
    feed.put(RDS, routes("80", "a"))
    feed.gone(LDS, "0.0.0.0_81")
    answers = {(LDS, "0.0.0.0_80"): True, (LDS, "0.0.0.0_81"): False}
    assert feed.store.snapshot().answers == answers
    feed.put(LDS, listener("0.0.0.0_81", "80"))
    assert feed.store.snapshot().answers == dict.fromkeys(answers, True)
    feed.gone(LDS, "0.0.0.0_80")
    assert feed.store.snapshot().answers == {**answers, (LDS, "0.0.0.0_81"): True} | {
        (LDS, "0.0.0.0_80"): False
    }
    feed.store.demand([])
    feed.pass_by(0.0)
    assert (feed.asked(LDS), feed.warm[1]) == (None, [])


def test_a_listener_that_came_and_is_no_good_is_there_all_the_same() -> None:
    """Nobody else may serve its connections; other kinds are as if there was none."""
    feed, key = Feed(), (LDS, "0.0.0.0_80")
    feed.store.demand([key, (CDS, "a")])
    feed.store.refuse(LDS, "0.0.0.0_80", (), "filter_chains: bad")
    feed.store.refuse(LDS, "of all", (), "filter_chains: bad")
    feed.store.refuse(CDS, "a", (), "bad")
    found = feed.store.snapshot()
    assert (found.answers, found.refused) == (
        {key: True, (CDS, "a"): False},
        {key: "filter_chains: bad"},
    )
    feed.gone(LDS, "0.0.0.0_80")
    assert (feed.store.snapshot().answers[key], feed.store.snapshot().refused) == (False, {})
    feed.store.refuse(LDS, "0.0.0.0_80", (), "worse")
    assert feed.store.snapshot().refused == {key: "worse"}
    feed.put(LDS, listener("0.0.0.0_80", "80"))
    assert feed.store.snapshot().refused == {}
    feed.store.refuse(LDS, "0.0.0.0_80", (), "a newer one is bad")
    assert feed.store.snapshot().refused == {}
    feed.store.demand([(LDS, "0.0.0.0_81")])
    feed.pass_by(0.0)
    feed.store.refuse(LDS, "0.0.0.0_81", (), "bad")
    feed.store.demand([])
    before = feed.store.changes
    feed.pass_by(0.0)
    assert feed.store.snapshot().refused == {}
    assert feed.store.changes > before  # who was told that it is refused is told that it is not


def test_what_does_not_exist_changes_the_answers_and_nothing_else() -> None:
    feed = Feed()
    feed.pass_by(FETCH_TIMEOUT_S)
    feed.put(CDS, cluster("a"))
    feed.gone(EDS, "a")
    before = feed.store.changes
    names = [(LDS, "10.0.0.1_80"), (CDS, "b"), (CDS, "a"), (VHDS, "t/h")]
    seen = feed.store.answer_changes
    feed.store.demand(names)
    assert feed.store.answers() == {(CDS, "a"): True}
    assert feed.store.answer_changes > seen
    for kind, name in (names[0], names[1], names[3]):
        seen = feed.store.answer_changes
        feed.gone(kind, name)
        assert feed.store.answer_changes > seen
        assert feed.store.answers()[(kind, name)] is False
    feed.store.demand(names[2:])
    feed.pass_by(0.0)
    assert feed.store.changes == before
    assert feed.store.answers() == {(CDS, "a"): True, (VHDS, "t/h"): False}
    feed.put(CDS, cluster("b"))
    feed.gone(EDS, "b")
    assert feed.store.changes > before


def test_what_files_have_is_not_asked_for_from_when_on_they_do(tmp_path: Path) -> None:
    feed = Feed()
    feed.put(CDS, cluster("a"))
    assert feed.asked(EDS) == ["a"]
    feed.put(CDS, cluster("b"))
    assert feed.asked(EDS) == ["a", "b"]
    in_file = {"path_config_source": {"path": str(tmp_path)}}
    feed.put(CDS, cluster("a", eds_cluster_config={"eds_config": in_file}), "2")
    assert feed.asked(EDS) == ["b"]
    feed.gone(CDS, "b")
    assert feed.asked(EDS) == []


def test_listeners_that_were_handed_connections_are_known_where_one_asks() -> None:
    feed = Feed()
    feed.pass_by(FETCH_TIMEOUT_S)
    feed.put(RDS, routes("80", "a"))
    handed = listener("0.0.0.0_80", "80")
    handed.bind_to_port.value = False
    outbound = listener("virtualOutbound", "80", 15001)
    for one in (handed, outbound):
        feed.put(LDS, one)
    feed.put(RDS, routes("80", "a"))
    assert feed.store.handed_to() == ()
    outbound.metadata.filter_metadata["weft.on_demand"].SetInParent()
    feed.put(LDS, outbound)
    assert feed.store.handed_to() == ("0.0.0.0_80",)
