"""A table of pods that is made of the one before answers as one that is made anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.kinds.parse import parse
from controlplane.kinds.pod import Pod
from controlplane.translate.pods.table import PodTable

APPS, ADDRESSES = ("a", "b"), ("10.0.0.1", "10.0.0.2", "10.0.0.3", "")
SELECTORS: tuple[dict[str, str], ...] = ({"app": "a"}, {"app": "a", "v": "1"}, {"v": "1"}, {})


def pod(name: str, app: str, address: str = "", phase: str = "", *, host: bool = False) -> Pod:
    (made,) = parse(
        f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}, v: "1"}}}}
spec: {{hostNetwork: {str(host).lower()}, containers: [{{name: c}}]}}
status: {{phase: "{phase}", podIP: "{address}"}}
""",
        "pods.yaml",
    ).objects
    assert isinstance(made, Pod)
    return made


PODS = st.builds(
    pod,
    st.sampled_from(("p", "q", "r", "s")),
    st.sampled_from(APPS),
    st.sampled_from(ADDRESSES),
    st.sampled_from(("Running", "Succeeded")),
    host=st.booleans(),
)


def answers(table: PodTable) -> tuple[object, ...]:
    names = [("default", name) for name in "pqrs"] + [("", address) for address in ADDRESSES]
    return (
        [table.at(name) for name in names],
        [table.selected("default", selector) for selector in SELECTORS],
        [table.kin_of("default", {"app": app, "v": "1"}) for app in APPS],
        table.population,
    )


@settings(max_examples=60)
@given(st.lists(st.lists(PODS, max_size=4, unique_by=lambda one: one.name), max_size=6))
def test_whatever_came_before(histories: list[list[Pod]]) -> None:
    table = PodTable()
    for pods in histories:
        ordered = tuple(sorted(pods, key=lambda one: one.key))
        before, table = table, PodTable.of(table, ordered)
        assert answers(table) == answers(PodTable.of(None, ordered))
        moved = {one for one, was in zip(*map(names, (table, before)), strict=True) if one != was}
        assert {name for name, _ in moved} <= table.changed


def names(table: PodTable) -> list[tuple[tuple[str, str], int]]:
    return [(name, id(table.at(name))) for name in (("default", one) for one in "pqrs")]


def test_what_is_new_is_said() -> None:
    first, second = pod("p", "a", "10.0.0.1"), pod("q", "b", "10.0.0.2")
    table = PodTable.of(None, (first, second))
    moved = pod("q", "b", "10.0.0.3")
    after = PodTable.of(table, (first, moved))
    assert after.follows is table.token
    labels = {("default", ("app", "b")), ("default", ("v", "1"))}
    told = {("default", "q"), ("", "10.0.0.2"), ("", "10.0.0.3")} | labels
    assert after.changed == told
    assert after.population is table.population
    assert PodTable.of(after, (first, moved)).changed == frozenset()


def test_of_two_pods_at_an_address_the_first_by_name_counts() -> None:
    first, second = pod("p", "a", "10.0.0.1"), pod("q", "b", "10.0.0.1")
    table = PodTable.of(None, (first, second))
    assert table.at(("", "10.0.0.1")) is first
    assert PodTable.of(table, (second,)).at(("", "10.0.0.1")) is second


def test_what_runs_no_more_or_in_the_nodes_network_has_no_address_of_its_own() -> None:
    done = pod("p", "a", "10.0.0.1", "Succeeded")
    shared = replace(pod("q", "a", "10.0.0.2"), spec=pod("q", "a", host=True).spec)
    table = PodTable.of(None, (done, shared))
    assert table.at(("", "10.0.0.1")) is None
    assert table.at(("", "10.0.0.2")) is None
    assert table.at(("default", "q")) is shared
