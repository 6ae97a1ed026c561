"""State of the world: every rule measured on Envoy 1.40 as a transcript."""

from __future__ import annotations

from controlplane.resources import EMPTY
from controlplane.xds.sotw import SotwStream
from controlplane.xds.stream import Answer
from protos.types import CDS, LDS
from tests.support.xds import decode_sotw, said, snapshot, sotw

ONE = snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"}, RDS={"r": "1"})


def nonce(answer: Answer) -> str:
    return answer.pushes[-1].nonce


def subscribed(machine: SotwStream) -> dict[str, str]:
    """Has Envoy's first requests answered and acknowledged; the nonces by type."""
    nonces = {}
    for short, names in {"CDS": (), "EDS": ("a", "b"), "LDS": (), "RDS": ("r",)}.items():
        nonces[short] = nonce(machine.feed(sotw(short, *names)))
        machine.feed(sotw(short, *names, nonce=nonces[short]))
    assert machine.synced
    return nonces


def test_empty_cds_and_lds_are_answered() -> None:
    machine = SotwStream(EMPTY)
    for type_url, short in ((CDS, "CDS"), (LDS, "LDS")):
        (push,) = machine.feed(sotw(short)).pushes
        response = decode_sotw(push)
        assert (response.type_url, list(response.resources)) == (type_url, [])
        assert response.nonce
        assert response.version_info


def test_first_request_without_names_is_a_wildcard_for_clusters_and_listeners_only() -> None:
    machine = SotwStream(ONE)
    assert said(machine.feed(sotw("CDS")).pushes) == ["CDS a b"]
    assert said(machine.feed(sotw("EDS")).pushes) == []
    assert said(machine.feed(sotw("RDS")).pushes) == []


def test_response_carries_the_resources_unchanged() -> None:
    (push,) = SotwStream(ONE).feed(sotw("CDS", "b")).pushes
    response = decode_sotw(push)
    assert [(r.type_url, r.value) for r in response.resources] == [(CDS, b"1")]


def test_an_ack_is_not_answered_and_endpoints_are_before_the_cluster_ack() -> None:
    machine = SotwStream(ONE)
    clusters = machine.feed(sotw("CDS"))
    endpoints = machine.feed(sotw("EDS", "a", "b"))
    assert said(endpoints.pushes) == ["EDS a b"]
    ack = machine.feed(sotw("CDS", nonce=nonce(clusters), version=clusters.pushes[0].version))
    assert (ack.event, ack.pushes) == ("ack", ())


def test_names_that_change_are_answered_although_all_else_looks_like_an_ack() -> None:
    machine = SotwStream(ONE)
    first = machine.feed(sotw("EDS", "a"))
    version = first.pushes[0].version
    more = machine.feed(sotw("EDS", "a", "b", nonce=nonce(first), version=version))
    assert said(more.pushes) == ["EDS b"]


def test_a_name_dropped_and_taken_up_again_is_sent_again() -> None:
    machine = SotwStream(ONE)
    first = machine.feed(sotw("EDS", "a", "b"))
    assert machine.feed(sotw("EDS", "a", nonce=nonce(first))).pushes == ()
    assert said(machine.feed(sotw("EDS", "a", "b", nonce=nonce(first))).pushes) == ["EDS b"]


def test_a_stale_nonce_is_ignored_names_and_all() -> None:
    machine = SotwStream(ONE)
    first = machine.feed(sotw("EDS", "a"))
    machine.on_snapshot(snapshot(EDS={"a": "2", "b": "1"}))
    answer = machine.feed(sotw("EDS", "a", "b", nonce=nonce(first)))
    assert (answer.event, answer.pushes) == ("stale", ())


def test_a_request_without_a_nonce_is_always_answered() -> None:
    """A reconnect: the version is the last acknowledged one, the nonce is empty."""
    machine = SotwStream(ONE)
    version = machine.feed(sotw("EDS", "a")).pushes[0].version
    assert said(SotwStream(ONE).feed(sotw("EDS", "a", version=version)).pushes) == ["EDS a"]
    assert said(SotwStream(ONE).feed(sotw("CDS", version=version)).pushes) == ["CDS a b"]


def test_the_nonce_of_an_earlier_stream_starts_anew() -> None:
    answer = SotwStream(ONE).feed(sotw("CDS", nonce="77", version="x"))
    assert (answer.event, said(answer.pushes)) == ("subscribe", ["CDS a b"])


def test_versions_are_those_of_the_content() -> None:
    same = snapshot(CDS={"b": "1", "a": "1"})
    first = SotwStream(ONE).feed(sotw("CDS")).pushes[0]
    assert SotwStream(same).feed(sotw("CDS")).pushes[0].version == first.version
    other = snapshot(CDS={"b": "2", "a": "1"})
    assert SotwStream(other).feed(sotw("CDS")).pushes[0].version != first.version


def test_an_unchanged_snapshot_sends_nothing() -> None:
    machine = SotwStream(ONE)
    subscribed(machine)
    again = snapshot(
        CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"}, RDS={"r": "1"}
    )
    assert machine.on_snapshot(again) == ()
    assert machine.synced


def test_clusters_are_sent_whole_other_types_only_where_they_changed() -> None:
    machine = SotwStream(ONE)
    subscribed(machine)
    new = snapshot(
        CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "2"}, LDS={"in": "1"}, RDS={"r": "1"}
    )
    assert said(machine.on_snapshot(new)) == ["EDS b"]


def test_a_changed_cluster_takes_its_unchanged_endpoints_along() -> None:
    """Or it would warm for 15 s, its ACK withheld."""
    machine = SotwStream(ONE)
    subscribed(machine)
    new = snapshot(
        CDS={"a": "2", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"}, RDS={"r": "1"}
    )
    assert said(machine.on_snapshot(new)) == ["CDS a b", "EDS a"]


def test_envoys_duplicate_request_while_a_cluster_warms_is_no_reason_to_send_more() -> None:
    """It asks with the old nonce, the answer being on its way already."""
    machine = SotwStream(ONE)
    nonces = subscribed(machine)
    clusters, endpoints = machine.on_snapshot(snapshot(CDS={"a": "2"}, EDS={"a": "1"}))
    assert machine.feed(sotw("EDS", "a", "b", nonce=nonces["EDS"])).event == "stale"
    assert machine.feed(sotw("EDS", "a", "b", nonce=endpoints.nonce)).pushes == ()
    assert machine.feed(sotw("CDS", nonce=clusters.nonce)).event == "ack"


def test_routes_wait_until_new_clusters_are_acknowledged_and_old_ones_go_last() -> None:
    machine = SotwStream(ONE)
    nonces = subscribed(machine)
    new = snapshot(
        CDS={"b": "1", "c": "1"}, EDS={"b": "1", "c": "1"}, LDS={"in": "1"}, RDS={"r": "c"}
    )
    (clusters,) = machine.on_snapshot(new)
    assert said((clusters,)) == ["CDS a b c"]
    assert not machine.synced
    # Envoy asks for the new endpoints before it acknowledges the cluster.
    endpoints = machine.feed(sotw("EDS", "a", "b", "c", nonce=nonces["EDS"]))
    assert said(endpoints.pushes) == ["EDS c"]
    assert machine.feed(sotw("CDS", nonce=clusters.nonce)).pushes == ()
    routes = machine.feed(sotw("EDS", "a", "b", "c", nonce=nonce(endpoints)))
    assert said(routes.pushes) == ["RDS r"]
    last = machine.feed(sotw("RDS", "r", nonce=nonce(routes)))
    assert said(last.pushes) == ["CDS b c"]
    assert machine.feed(sotw("CDS", nonce=nonce(last))).event == "ack"
    assert machine.synced


def test_a_nack_lets_the_rollout_go_on() -> None:
    machine = SotwStream(ONE)
    subscribed(machine)
    new = snapshot(CDS={"a": "1", "b": "1", "c": "bad"}, EDS={"a": "1", "b": "1"}, RDS={"r": "2"})
    (clusters,) = machine.on_snapshot(new)
    answer = machine.feed(sotw("CDS", nonce=clusters.nonce, error="cluster c: wrong"))
    assert (answer.event, answer.detail) == ("nack", "cluster c: wrong")
    assert said(answer.pushes)[-1] == "RDS r"


def test_a_nack_is_attributed_kept_until_acknowledged_and_not_answered_by_the_same() -> None:
    machine = SotwStream(ONE)
    first = machine.feed(sotw("LDS"))
    answer = machine.feed(sotw("LDS", nonce=nonce(first), error="Error adding listener(s) in: no"))
    assert answer.pushes == ()
    assert machine.rejections == {LDS: {"in": "Error adding listener(s) in: no"}}
    assert not machine.synced
    assert machine.on_snapshot(ONE) == ()
    (fixed,) = machine.on_snapshot(snapshot(LDS={"in": "2"}))
    machine.feed(sotw("LDS", nonce=fixed.nonce))
    assert machine.rejections == {}
    assert machine.synced


def test_absence_is_removal_only_for_clusters_and_listeners() -> None:
    machine = SotwStream(ONE)
    subscribed(machine)
    pushes = machine.on_snapshot(snapshot(CDS={"b": "1"}, EDS={"b": "1"}))
    assert said(pushes) == ["LDS"]
    last = machine.feed(sotw("LDS", nonce=pushes[0].nonce))
    assert said(last.pushes) == ["CDS b"]


def test_names_that_do_not_exist_are_answered_with_something_empty() -> None:
    machine = SotwStream(EMPTY)
    assert said(machine.feed(sotw("EDS", "ghost")).pushes) == ["EDS ghost"]
    assert said(machine.feed(sotw("RDS", "ghost")).pushes) == ["RDS ghost"]
    assert machine.on_snapshot(EMPTY) == ()


def test_a_missing_secret_is_not_answered_until_it_is_there() -> None:
    machine = SotwStream(EMPTY)
    assert machine.feed(sotw("SDS", "default", "ROOTCA")).pushes == ()
    assert said(machine.on_snapshot(snapshot(SDS={"default": "k"}))) == ["SDS default"]


def test_a_placeholder_gives_way_to_the_real_thing() -> None:
    machine = SotwStream(EMPTY)
    answer = machine.feed(sotw("RDS", "r"))
    machine.feed(sotw("RDS", "r", nonce=nonce(answer)))
    assert said(machine.on_snapshot(ONE)) == ["RDS r"]


def test_a_route_configuration_that_is_gone_is_not_emptied() -> None:
    """Its listener may still be draining."""
    machine = SotwStream(ONE)
    subscribed(machine)
    without = snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"})
    assert machine.on_snapshot(without) == ()


def test_named_clusters_then_no_name_is_no_wildcard() -> None:
    """gRPC names every resource."""
    machine = SotwStream(ONE)
    first = machine.feed(sotw("CDS", "a"))
    assert said(first.pushes) == ["CDS a"]
    again = machine.feed(sotw("CDS", nonce=nonce(first)))
    assert said(again.pushes) == []


def test_changes_that_come_while_a_rollout_waits_are_merged_into_it() -> None:
    machine = SotwStream(ONE)
    subscribed(machine)
    (first,) = machine.on_snapshot(
        snapshot(CDS={"a": "1", "b": "1", "c": "1"}, EDS={"a": "1", "b": "1"}, RDS={"r": "2"})
    )
    assert (
        machine.on_snapshot(
            snapshot(CDS={"a": "1", "b": "1", "c": "1"}, EDS={"a": "1", "b": "1"}, RDS={"r": "3"})
        )
        == ()
    )
    answer = machine.feed(sotw("CDS", nonce=first.nonce))
    (routes,) = [p for p in answer.pushes if said((p,)) == ["RDS r"]]
    assert decode_sotw(routes).resources[0].value == b"3"
