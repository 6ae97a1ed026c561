"""Which of the objects that origins hold are in force, and which change matters."""

from __future__ import annotations

from controlplane.inventory import API, Inventory, Origin, Snapshot
from controlplane.kinds.core import Service
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Position, Status

A, B = Origin.file("conf/a.yaml"), Origin.file("conf/b.yaml")
KEY = ObjectKey("Service", "default", "one")


def service(name: str = "one", port: int = 80, source: str = "api", before: str = "") -> Object:
    text = f"""{before}
apiVersion: v1
kind: Service
metadata: {{name: {name}, annotations: {{kubectl.kubernetes.io/last-applied: '{before}'}}}}
spec: {{ports: [{{port: {port}}}]}}
"""
    parsed = parse(text, source)
    assert not parsed.statuses
    return parsed.objects[0]


def ports(snapshot: Snapshot) -> list[int]:
    return [item.spec.ports[0].port for item in snapshot.of(Service)]


def test_put_says_whether_the_meaning_is_new() -> None:
    inventory = Inventory()
    assert inventory.put(service())
    assert not inventory.put(service())
    assert not inventory.put(service(before="\n# a comment\n"))
    assert inventory.put(service(port=81))
    assert ports(inventory.snapshot()) == [81]


def test_a_moved_object_keeps_its_newest_place() -> None:
    inventory = Inventory()
    inventory.put(service())
    inventory.put(service(before="\n\n"))
    assert inventory.snapshot().objects[0].position.line == 4


def test_a_file_that_is_followed_and_applied_too_is_told_so() -> None:
    inventory = Inventory()
    inventory.put(service(source="conf/a.yaml"))
    inventory.replace(A, [service(source="conf/a.yaml")])
    (told,) = inventory.snapshot().statuses
    assert told.message.startswith(
        "Service default/one is followed there already, and in force; change the file instead: "
    )


def test_the_first_file_stays_in_force_whatever_came_first_in_time() -> None:
    inventory = Inventory()
    inventory.put(service(port=1))
    assert inventory.replace(B, [service(port=2, source="b.yaml")])
    assert inventory.replace(A, [service(port=3, source="a.yaml", before="\n")])
    snapshot = inventory.snapshot()
    assert ports(snapshot) == [3]
    assert [(str(s.position), s.code, s.severity) for s in snapshot.statuses] == [
        ("api:2:1", "Duplicate", "error"),
        ("b.yaml:2:1", "Duplicate", "error"),
    ]
    assert all("a.yaml:3:1" in status.message for status in snapshot.statuses)
    inventory.replace(A, [])
    assert ports(inventory.snapshot()) == [2]
    inventory.replace(B, [])
    assert ports(inventory.snapshot()) == [1]
    assert not inventory.snapshot().statuses


def test_the_first_of_one_file_stays_in_force() -> None:
    inventory = Inventory()
    inventory.replace(A, [service(port=1), service(port=2, before="\n\n"), service("two", 3)])
    snapshot = inventory.snapshot()
    assert ports(snapshot) == [1, 3]
    assert [str(status.position) for status in snapshot.statuses] == ["api:4:1"]


def test_replace_says_whether_anything_was_or_is_there() -> None:
    inventory = Inventory()
    assert not inventory.replace(A, [])
    status = Status(Position("conf/a.yaml", 1, 1), "error", "ParseError", "File a", "bad")
    assert inventory.replace(A, [], [status])
    assert inventory.snapshot().statuses == (status,)
    assert inventory.replace(A, [])
    assert not inventory.replace(A, [])
    assert inventory.origins() == ()


def test_remove_and_find() -> None:
    inventory = Inventory()
    assert not inventory.remove(KEY)
    inventory.put(service())
    inventory.replace(B, [service(source="b.yaml")])
    found = inventory.find(KEY)
    assert found is not None
    assert found.position.source == "b.yaml"
    assert inventory.find(KEY, besides=B) is not None
    assert inventory.remove(KEY)
    assert inventory.find(KEY, besides=B) is None
    assert inventory.objects_of(API) == ()


def test_a_snapshot_does_not_change_with_the_inventory() -> None:
    inventory = Inventory()
    inventory.put(service("two"))
    inventory.put(service("one"))
    snapshot = inventory.snapshot()
    inventory.remove(KEY)
    assert [item.name for item in snapshot.objects] == ["one", "two"]
