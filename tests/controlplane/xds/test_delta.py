"""Incremental xDS: every rule measured on Envoy 1.40 as a transcript."""

from __future__ import annotations

import pytest

from controlplane.resources import EMPTY, Snapshot
from controlplane.xds.delta import DeltaStream
from controlplane.xds.stream import Answer
from protos.types import CDS, EDS, LDS
from tests.support.xds import URLS, decode_delta, delta, said, snapshot

ONE = snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"}, RDS={"r": "1"})


def nonce(answer: Answer) -> str:
    return answer.pushes[-1].nonce


def versions(short: str, of: Snapshot = ONE) -> dict[str, str]:
    return {name: r.version for name, r in of.of(URLS[short]).items()}


def subscribed(machine: DeltaStream) -> None:
    """Has Envoy's first requests answered and acknowledged."""
    for short, names in {"CDS": (), "EDS": ("a", "b"), "LDS": (), "RDS": ("r",)}.items():
        answer = machine.feed(delta(short, *names))
        machine.feed(delta(short, nonce=nonce(answer)))
    assert machine.synced


@pytest.mark.parametrize("short", ["CDS", "LDS"])
def test_empty_cds_and_lds_are_answered(short: str) -> None:
    (push,) = DeltaStream(EMPTY).feed(delta(short)).pushes
    response = decode_delta(push)
    assert (response.type_url, response.nonce != "") == (URLS[short], True)
    assert not response.resources
    assert not response.removed_resources


def test_resources_carry_name_version_and_body() -> None:
    (push,) = DeltaStream(ONE).feed(delta("CDS", "a")).pushes
    (resource,) = decode_delta(push).resources
    assert (resource.name, resource.version) == ("a", versions("CDS")["a"])
    assert (resource.resource.type_url, resource.resource.value) == (CDS, b"1")


def test_the_star_is_a_wildcard_and_can_be_given_up() -> None:
    machine = DeltaStream(ONE)
    first = machine.feed(delta("CDS", "*", "a"))
    assert said(first.pushes) == ["CDS a b"]
    machine.feed(delta("CDS", nonce=nonce(first)))
    machine.feed(delta("CDS", unsubscribe=("*",)))
    assert said(machine.on_snapshot(snapshot(CDS={"a": "2", "b": "2"}))) == ["CDS a"]


def test_a_reconnect_with_the_same_versions_costs_nothing() -> None:
    """Versions are content hashes: another replica knows them too."""
    machine = DeltaStream(ONE)
    assert said(machine.feed(delta("CDS", have=versions("CDS"))).pushes) == ["CDS"]
    assert said(machine.feed(delta("LDS", have=versions("LDS"))).pushes) == ["LDS"]
    assert machine.feed(delta("EDS", "a", "b", have=versions("EDS"))).pushes == ()
    assert machine.feed(delta("RDS", "r", have=versions("RDS"))).pushes == ()


def test_a_reconnect_gets_the_differences_and_what_is_gone() -> None:
    machine = DeltaStream(ONE)
    have = {"a": "old", "b": versions("CDS")["b"], "gone": "x"}
    assert said(machine.feed(delta("CDS", have=have)).pushes) == ["CDS a -gone"]
    have = {"b": versions("EDS")["b"], "gone": "x"}
    assert said(machine.feed(delta("EDS", "b", "gone", have=have)).pushes) == ["EDS -gone"]


def test_on_a_reconnect_a_changed_cluster_takes_its_endpoints_along_in_either_order() -> None:
    for order in (("CDS", "EDS"), ("EDS", "CDS")):
        machine = DeltaStream(ONE)
        requests = {
            "CDS": delta("CDS", have={"a": "old", "b": versions("CDS")["b"]}),
            "EDS": delta("EDS", "a", "b", have=versions("EDS")),
        }
        pushes = [push for short in order for push in machine.feed(requests[short]).pushes]
        assert said(tuple(pushes)) == ["CDS a", "EDS a"], order


def test_an_explicit_subscription_later_is_sent_although_the_client_has_it() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    assert said(machine.feed(delta("EDS", "a")).pushes) == ["EDS a"]


def test_unsubscribed_names_are_forgotten() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    assert machine.feed(delta("EDS", unsubscribe=("a",))).pushes == ()
    assert said(machine.on_snapshot(snapshot(EDS={"a": "2", "b": "2"}))) == ["EDS b"]


def test_only_what_changed_is_sent() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    new = snapshot(
        CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "2"}, LDS={"in": "1"}, RDS={"r": "1"}
    )
    assert said(machine.on_snapshot(new)) == ["EDS b"]
    assert machine.on_snapshot(new) == ()


def test_a_changed_cluster_takes_its_unchanged_endpoints_along() -> None:
    """In delta Envoy sends nothing at all while the cluster warms: the server must know."""
    machine = DeltaStream(ONE)
    subscribed(machine)
    new = snapshot(
        CDS={"a": "2", "b": "1"}, EDS={"a": "1", "b": "1"}, LDS={"in": "1"}, RDS={"r": "1"}
    )
    assert said(machine.on_snapshot(new)) == ["CDS a", "EDS a"]


def test_routes_wait_for_new_clusters_and_old_clusters_go_last() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    new = snapshot(
        CDS={"b": "1", "c": "1"}, EDS={"b": "1", "c": "1"}, LDS={"in": "1"}, RDS={"r": "c"}
    )
    (clusters,) = machine.on_snapshot(new)
    assert said((clusters,)) == ["CDS c"]
    endpoints = machine.feed(delta("EDS", "c"))
    assert said(endpoints.pushes) == ["EDS c"]
    assert machine.feed(delta("EDS", nonce=nonce(endpoints))).pushes == ()
    routes = machine.feed(delta("CDS", nonce=clusters.nonce))
    assert said(routes.pushes) == ["RDS r"]
    removal = machine.feed(delta("RDS", nonce=nonce(routes)))
    assert said(removal.pushes) == ["CDS -a", "EDS -a"]
    assert machine.feed(delta("CDS", nonce=removal.pushes[0].nonce)).event == "ack"
    machine.feed(delta("EDS", unsubscribe=("a",)))
    machine.feed(delta("EDS", nonce=removal.pushes[1].nonce))
    assert machine.synced


def test_what_is_gone_is_told_once() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    without = snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1"}, LDS={"in": "1"}, RDS={"r": "1"})
    (gone,) = machine.on_snapshot(without)
    assert said((gone,)) == ["EDS -b"]
    assert machine.feed(delta("EDS", nonce=gone.nonce)).pushes == ()
    assert machine.on_snapshot(without) == ()


def test_a_name_that_comes_back_is_sent_again() -> None:
    machine = DeltaStream(ONE)
    subscribed(machine)
    gone = machine.on_snapshot(
        snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1"}, LDS={"in": "1"}, RDS={"r": "1"})
    )
    machine.feed(delta("EDS", nonce=gone[0].nonce))
    assert said(machine.on_snapshot(ONE)) == ["EDS b"]


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        ("EDS", ["EDS ghost"]),  # an empty one, or the cluster waits 15 s
        ("RDS", ["RDS ghost"]),  # an empty one: removed would leave the listener unbound for ever
        ("CDS", ["CDS -ghost"]),
        ("LDS", ["LDS -ghost"]),
        ("SDS", []),  # its listener stays closed until the secret is there
    ],
)
def test_names_that_do_not_exist(short: str, expected: list[str]) -> None:
    machine = DeltaStream(EMPTY)
    assert said(machine.feed(delta(short, "ghost")).pushes) == expected
    assert machine.on_snapshot(EMPTY) == ()


def test_a_missing_secret_is_sent_as_soon_as_it_is_there() -> None:
    machine = DeltaStream(EMPTY)
    machine.feed(delta("SDS", "default"))
    assert said(machine.on_snapshot(snapshot(SDS={"default": "k"}))) == ["SDS default"]


def test_one_request_may_acknowledge_and_subscribe() -> None:
    machine = DeltaStream(ONE)
    first = machine.feed(delta("EDS", "a"))
    answer = machine.feed(delta("EDS", "b", nonce=nonce(first)))
    assert (answer.event, said(answer.pushes)) == ("ack", ["EDS b"])


def test_an_unknown_nonce_is_stale_but_its_names_count() -> None:
    machine = DeltaStream(ONE)
    machine.feed(delta("EDS", "a"))
    answer = machine.feed(delta("EDS", "b", nonce="77"))
    assert (answer.event, said(answer.pushes)) == ("stale", ["EDS b"])


def test_a_nack_is_attributed_and_outlives_the_acks_of_others() -> None:
    """Envoy applies the good ones of a response that it rejects, and names the bad one."""
    machine = DeltaStream(snapshot(LDS={"good": "1", "bad": "1"}))
    first = machine.feed(delta("LDS"))
    answer = machine.feed(delta("LDS", nonce=nonce(first), error="Error adding listener(s) bad: x"))
    assert (answer.event, answer.pushes) == ("nack", ())
    (other,) = machine.on_snapshot(snapshot(LDS={"good": "2", "bad": "1"}))
    assert other.names == ("good",)
    machine.feed(delta("LDS", nonce=other.nonce))
    assert machine.rejections == {LDS: {"bad": "Error adding listener(s) bad: x"}}
    assert not machine.synced
    (fixed,) = machine.on_snapshot(snapshot(LDS={"good": "2", "bad": "2"}))
    machine.feed(delta("LDS", nonce=fixed.nonce))
    assert (machine.rejections, machine.synced) == ({}, True)


def test_a_rejected_resource_that_is_removed_is_rejected_no_more() -> None:
    machine = DeltaStream(snapshot(LDS={"bad": "1"}))
    first = machine.feed(delta("LDS"))
    machine.feed(delta("LDS", nonce=nonce(first), error="bad is bad"))
    (removal,) = machine.on_snapshot(snapshot(LDS={}))
    machine.feed(delta("LDS", nonce=removal.nonce))
    assert machine.rejections == {}


def test_a_nack_without_a_word_is_still_a_nack() -> None:
    machine = DeltaStream(ONE)
    first = machine.feed(delta("EDS", "a"))
    request = delta("EDS", nonce=nonce(first))
    request.error_detail.code = 3
    assert machine.feed(request).event == "nack"
    assert machine.rejections == {EDS: {"a": "rejected without a message"}}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("line\nwarning: forged", "line warning: forged"),
        ("\x1b[2Ja", "?[2Ja"),
        ("x" * 99999, "x" * 16384),
    ],
    ids=["lines", "escapes", "long"],
)
def test_what_a_proxy_says_of_a_rejection_is_one_line_and_short(error: str, told: str) -> None:
    machine = DeltaStream(ONE)
    first = machine.feed(delta("EDS", "a"))
    answer = machine.feed(delta("EDS", nonce=nonce(first), error=error))
    assert (answer.detail, machine.rejections) == (told, {EDS: {"a": told}})
