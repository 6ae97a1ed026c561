"""What is made of the one before is what it would be from nothing."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from controlplane.kinds.parse import parse
from controlplane.kinds.virtual_service import VirtualService
from controlplane.translate.ages import Ages
from controlplane.translate.groups import Groups
from controlplane.translate.index import age, key_of


def rule(name: str, line: int, since: str) -> VirtualService:
    text = "\n" * line + (
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: "
        f'{name}, creationTimestamp: "{since}"}}, spec: {{hosts: [h], http: [{{route: '
        "[{destination: {host: h}}]}]}}"
    )
    (item,) = parse(text, "api").objects
    assert isinstance(item, VirtualService)
    return item


RULES = [
    rule(name, line, since)
    for name in ("a", "b", "c")
    for line in (0, 1)
    for since in ("", "2026-01-02T00:00:00Z")
]


@given(st.lists(st.lists(st.sampled_from(RULES), max_size=6), min_size=1, max_size=6))
def test_objects_are_in_the_order_of_their_ages_whatever_was_before(
    history: list[list[VirtualService]],
) -> None:
    known: Ages[VirtualService] | None = None
    for some in history:
        items = tuple(sorted({key_of(item): item for item in some}.values(), key=key_of))
        known = Ages.following(known, items)
        assert known.oldest_first == tuple(sorted(items, key=age))


class Thing(NamedTuple):
    names: tuple[str, ...]
    number: int


THINGS = [Thing(names, n) for n in range(4) for names in ((), ("a",), ("a", "b"), ("b", "b"))]


def names_of(thing: Thing) -> tuple[str, ...]:
    return thing.names


@given(st.lists(st.lists(st.sampled_from(THINGS), max_size=6, unique=True), max_size=6))
def test_groups_have_what_is_said_in_the_order_of_who_says_it(history: list[list[Thing]]) -> None:
    groups: Groups[str, Thing] = Groups()
    for things in history:
        before, ordered = groups, tuple(sorted(things))
        groups = groups.following(ordered, names_of)
        for name in "abc":
            expected = tuple(thing for thing in ordered if name in thing.names)
            assert groups.of(name) == expected
        assert (groups == before) == all(groups.of(n) == before.of(n) for n in "ab")


def test_a_name_of_which_nothing_new_is_said_has_the_same_tuple() -> None:
    one, two, other = Thing(("a",), 1), Thing(("b",), 2), Thing(("b",), 3)
    groups = Groups[str, Thing]().following((one, two), names_of)
    after = groups.following((one, other), names_of)
    assert after.of("a") is groups.of("a")
    assert (groups.of("b"), after.of("b")) == ((two,), (other,))
