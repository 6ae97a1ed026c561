"""The management API's objects: all or nothing, and never against a file."""

from __future__ import annotations

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Status
from controlplane.sources.memory import MemorySource

ONE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n"
TWO = "apiVersion: v1\nkind: Namespace\nmetadata: {name: two}\n"
BAD = "apiVersion: v1\nkind: Namespace\nmetadata: {nam: three}\n"


class Bench:
    def __init__(self) -> None:
        self.inventory = Inventory()
        self.changes = 0
        self.source = MemorySource(self.inventory, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def apply(self, text: str, source: str = "api") -> tuple[Status, ...]:
        parsed, said = self.source.examine(text, source)
        if not any(one.severity == "error" for one in said):
            self.source.put(parsed.objects)
        return said

    def names(self) -> list[str]:
        return [item.name for item in self.inventory.snapshot().objects]


def test_objects_are_applied_and_deleted() -> None:
    bench = Bench()
    assert bench.apply(f"{ONE}---\n{TWO}") == ()
    assert bench.names() == ["one", "two"]
    assert bench.changes == 1
    assert bench.apply(ONE) == ()
    assert bench.changes == 1
    assert bench.source.remove(ObjectKey("Namespace", "default", "one"))
    assert not bench.source.remove(ObjectKey("Namespace", "default", "one"))
    assert bench.names() == ["two"]
    assert bench.changes == 2


def test_an_error_is_told_with_its_place() -> None:
    bench = Bench()
    bench.apply(TWO)
    for manifest in (f"{ONE}---\n{BAD}", f"{ONE}---\n{ONE}", "a: [", "apiVersion: v9\nkind: X\n"):
        statuses = bench.apply(manifest, "weft run")
        assert [status.severity for status in statuses].count("error") >= 1
        assert statuses[0].position.source == "weft run"
    assert bench.names() == ["two"]
    assert bench.changes == 1


def test_an_object_of_a_file_is_not_replaced() -> None:
    bench = Bench()
    bench.inventory.replace(Origin.file("conf/a.yaml"), parse(ONE, "conf/a.yaml").objects)
    (status,) = bench.apply(f"{TWO}---\n{ONE}")
    assert status.code == "Duplicate"
    assert "conf/a.yaml:1:1" in status.message
    assert bench.names() == ["one"]


def test_a_note_does_not_prevent_anything() -> None:
    bench = Bench()
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {internalTrafficPolicy: x}\n"
    (status,) = bench.apply(text)
    assert status.severity == "info"
    assert bench.names() == ["c"]
