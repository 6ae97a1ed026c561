"""Objects however wrong: an error that names them, never a crash, and others keep their effect."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.inventory import Inventory
from controlplane.sources.kubernetes.answers import Resource, place_of, version_of
from controlplane.sources.kubernetes.intake import Intake, origin_of, source_of
from controlplane.sources.kubernetes.lean import lean

SERVICE = Resource("", "v1", "services", "Service", True)
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
ROUTE = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService", True)
GOOD: dict[Resource, dict[str, Any]] = {
    SERVICE: {
        "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}, "annotations": {}},
        "spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"app": "a"}},
    },
    SLICE: {
        "metadata": {"name": "a", "namespace": "n", "labels": {}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "zone": "z"}],
        "ports": [{"port": 80, "name": "http"}],
    },
    ROUTE: {
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
    },
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [p for key, item in value.items() for p in places(item, (*path, key))]
    elif isinstance(value, list):
        found += [p for index, item in enumerate(value) for p in places(item, (*path, index))]
    return found


@settings(max_examples=70)
@given(st.sampled_from(list(GOOD)), st.data())
def test_whatever_stands_somewhere(resource: Resource, data: st.DataObject) -> None:
    document = copy.deepcopy(GOOD[resource])
    path = data.draw(st.sampled_from(places(document)), "where")
    where: Any = document
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = data.draw(JUNK, "what")
    inventory, other = Inventory(), ("n", "other")
    intake = Intake(inventory)
    intake.take(SERVICE, other, {**GOOD[SERVICE], "metadata": {"name": "other", "namespace": "n"}})
    name = place_of(document)
    version_of(document)
    intake.take(resource, name, document)
    origin = origin_of(resource, name)
    for status in inventory.statuses_of(origin):
        assert status.position.source == source_of(resource, name)
    errors = [one for one in inventory.statuses_of(origin) if one.severity == "error"]
    assert errors or inventory.objects_of(origin)
    assert inventory.objects_of(origin_of(SERVICE, other))


@pytest.mark.parametrize("resource", GOOD, ids=lambda one: str(one.kind))
def test_what_was_taken_again_is_no_news(resource: Resource) -> None:
    intake, name = Intake(Inventory()), ("n", "a")
    assert intake.take(resource, name, GOOD[resource])
    assert not intake.take(resource, name, copy.deepcopy(GOOD[resource]))
    assert intake.drop(resource, name)
    assert not intake.drop(resource, name)


def test_what_has_no_effect_is_not_read() -> None:
    endpoint = {"addresses": ["10.0.0.1"], "hints": {"forZones": []}, "zone": "z"}
    metadata = {"name": "a", "uid": "u", "managedFields": [1], "resourceVersion": "5"}
    document = {"metadata": metadata, "endpoints": [endpoint], "addressType": "IPv4"}
    made = lean(SLICE, document)
    assert made["metadata"] == {"name": "a"}
    assert made["endpoints"] == [{"addresses": ["10.0.0.1"], "zone": "z"}]
    assert endpoint["hints"], "what was given is not changed"
