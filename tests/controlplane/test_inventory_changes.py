"""Whatever changes in an inventory, its snapshot is what a new inventory would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.inventory import API, Inventory, Origin, Snapshot
from controlplane.kinds.core import Service, ServiceAccount
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Position, Status

FILES = (Origin.file("a.yaml"), Origin.file("b.yaml"))
OBJECTS = tuple(
    parse(
        f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{v: '{version}'}}}}\n"
        + ("spec: {ports: [{port: 80}]}\n" if kind == "Service" else ""),
        f"{kind}-{name}-{version}",
    ).objects[0]
    for kind in ("Service", "ServiceAccount")
    for name in ("one", "two")
    for version in "12"
)
objects = st.sampled_from(OBJECTS)
statuses = st.lists(
    st.sampled_from([Status(Position(n), "error", "Bad", "File", n) for n in "ab"]), max_size=2
)
File = tuple[Origin, tuple[list[Object], list[Status]]]
files = st.tuples(st.sampled_from(FILES), st.tuples(st.lists(objects, max_size=4), statuses))
changes = st.lists(st.one_of(files, objects, objects.map(lambda item: item.key)), max_size=12)


def shown(snapshot: Snapshot) -> object:
    where = [(str(item.position), item.key) for item in snapshot.objects]
    kinds = [[item.position for item in snapshot.of(kind)] for kind in (Service, ServiceAccount)]
    return where, kinds, snapshot.statuses


def said_by(held: dict[Origin, tuple[list[Object], list[Status]]], api: list[Object]) -> object:
    fresh = Inventory()
    for origin, content in held.items():
        fresh.replace(origin, *content)
    for item in api:
        fresh.put(item)
    return shown(fresh.snapshot())


@given(changes)
def test_a_changed_inventory_is_a_new_one_with_the_same_objects(
    steps: list[File | Object | ObjectKey],
) -> None:
    inventory, held = Inventory(), dict[Origin, tuple[list[Object], list[Status]]]()
    for step in steps:
        if isinstance(step, Object):
            inventory.put(step)
        elif isinstance(step, ObjectKey):
            inventory.remove(step)
        else:
            held[step[0]] = step[1]
            inventory.replace(step[0], *step[1])
        now = inventory.snapshot()
        assert shown(now) == said_by(held, list(inventory.objects_of(API)))
        assert now.of(Service) is inventory.snapshot().of(Service)
