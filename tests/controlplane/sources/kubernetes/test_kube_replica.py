"""What is taken of lists and events, whatever comes twice, late, or not at all."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.kubernetes.answers import Document, Event
from controlplane.sources.kubernetes.replica import Replica


def thing(name: str, version: object, uid: str = "u") -> Document:
    return {"metadata": {"name": name, "resourceVersion": str(version), "uid": uid}}


def bookmark(version: object) -> Event:
    return Event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def listing(replica: Replica, version: object, *documents: Document) -> list[tuple[str, bool]]:
    """(name, is there) of each change."""
    replica.list_begins()
    changes = [*replica.page(documents), *replica.list_ends(str(version))]
    return [(name[1], document is not None) for name, document in changes]


def happens(replica: Replica, kind: str, *what: Any) -> bool:
    return replica.happened(Event(kind, thing(*what))) is not None


def test_a_list_tells_what_is_new_and_what_is_gone() -> None:
    replica = Replica()
    assert listing(replica, 5, thing("a", 1), thing("b", 2)) == [("a", True), ("b", True)]
    assert listing(replica, 9, thing("b", 2), thing("c", 7)) == [("c", True), ("a", False)]
    assert listing(replica, 9, thing("b", 2), thing("c", 7)) == []


def test_the_same_version_of_another_object_is_news() -> None:
    replica = Replica()
    listing(replica, 5, thing("a", 1, "first"))
    assert listing(replica, 6, thing("a", 1, "second")) == [("a", True)]


def test_a_list_that_was_broken_off_deletes_nothing() -> None:
    replica = Replica()
    listing(replica, 5, thing("a", 1), thing("b", 2))
    replica.list_begins()
    replica.page([thing("c", 6)])
    assert replica.resume == "5"
    assert listing(replica, 9, thing("a", 1), thing("c", 6)) == [("b", False)]


def test_a_streaming_list_in_any_order() -> None:
    replica = Replica()
    replica.list_begins()
    replica.not_listed(thing("a", 8))
    assert replica.page([thing("a", 4)]) == []
    assert len(replica.page([thing("b", 9)])) == 1
    assert replica.page([thing("b", 5)]) == []
    assert len(replica.page([thing("c", 3)])) == 1
    replica.not_listed(thing("c", 7))
    (gone,) = replica.list_ends("10")
    assert gone.name[1] == "c"
    assert [name[1] for name in replica.names] == ["b"]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED"])
def test_each_version_is_taken_once(kind: str) -> None:
    replica = Replica()
    listing(replica, 5, thing("a", 4))
    assert not happens(replica, kind, "a", 4)
    assert happens(replica, kind, "a", 6)
    assert not happens(replica, kind, "a", 6)
    assert not happens(replica, kind, "a", 5)


def test_what_the_list_did_not_have_was_deleted_before_it() -> None:
    replica = Replica()
    listing(replica, 10)
    assert not happens(replica, "ADDED", "a", 9)
    assert happens(replica, "ADDED", "a", 11)


def test_a_deletion_that_comes_first_is_remembered() -> None:
    replica = Replica()
    listing(replica, 5)
    assert not happens(replica, "DELETED", "a", 8)
    assert not happens(replica, "ADDED", "a", 7)
    assert happens(replica, "ADDED", "a", 9)


def test_a_late_deletion_of_an_earlier_object_of_that_name() -> None:
    replica = Replica()
    listing(replica, 5, thing("a", 4))
    assert happens(replica, "ADDED", "a", 9)
    assert not happens(replica, "DELETED", "a", 8)
    assert happens(replica, "DELETED", "a", 10)


def test_opaque_versions_are_taken_as_they_come() -> None:
    replica = Replica()
    listing(replica, "...", thing("a", "x"))
    assert not happens(replica, "MODIFIED", "a", "x")
    assert happens(replica, "MODIFIED", "a", "y")
    assert happens(replica, "MODIFIED", "a", "x")
    assert happens(replica, "MODIFIED", "a", "")
    assert happens(replica, "MODIFIED", "a", "")
    assert happens(replica, "DELETED", "a", "")
    assert happens(replica, "ADDED", "a", "z")


def test_where_a_watch_goes_on() -> None:
    replica = Replica()
    assert replica.resume is None
    listing(replica, 5)
    happens(replica, "ADDED", "a", 9)
    assert replica.resume == "5", "an event may be under way behind a newer one"
    replica.ended(cleanly=False)
    assert replica.resume == "5"
    replica.happened(bookmark(9))
    assert replica.resume == "9"
    happens(replica, "MODIFIED", "a", 12)
    replica.ended(cleanly=True)
    assert replica.resume == "12"
    replica.expired()
    assert replica.resume is None


def test_a_watch_of_opaque_versions_is_followed_by_a_list() -> None:
    replica = Replica()
    listing(replica, "...")
    assert replica.resume == "..."
    replica.ended(cleanly=True)
    assert replica.resume is None


def test_another_version_of_the_kind_makes_all_news() -> None:
    replica = Replica()
    listing(replica, 5, thing("a", 1), thing("b", 2))
    replica.anew()
    assert replica.resume is None
    assert listing(replica, 6, thing("a", 1)) == [("a", True), ("b", False)]


@given(st.data())
def test_any_order_and_repetition_ends_with_the_truth(data: st.DataObject) -> None:
    truth: dict[str, int] = {}
    events = []
    for version in range(11, 11 + data.draw(st.integers(0, 12), "events")):
        name = data.draw(st.sampled_from("abc"), "name")
        if name in truth and data.draw(st.booleans(), "delete"):
            del truth[name]
            events.append(Event("DELETED", thing(name, version)))
        else:
            events.append(Event("MODIFIED" if name in truth else "ADDED", thing(name, version)))
            truth[name] = version
    replica = Replica()
    listing(replica, 10)
    held: dict[str, int] = {}
    told = events + [event for event in events if data.draw(st.booleans(), "twice")]
    random.Random(data.draw(st.integers(), "order")).shuffle(told)
    for event in told:
        if (change := replica.happened(event)) is not None:
            held.pop(change.name[1], None)
            if change.document is not None:
                held[change.name[1]] = int(change.document["metadata"]["resourceVersion"])
    assert held == truth
