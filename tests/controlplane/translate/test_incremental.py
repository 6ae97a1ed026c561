"""Whatever came before, a build with a memory gives exactly what one without gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.inventory import Inventory
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import build
from controlplane.translate.memo import Each, Memo
from controlplane.translate.questions import Index, asked
from tests.support.histories import histories, step

DOMAIN = "cluster.local"


@settings(max_examples=40)
@given(histories(), st.integers(min_value=1, max_value=5))
def test_incremental_is_whole(history: list[Object], stride: int) -> None:
    inventory, memo = Inventory(), Memo()
    for number, item in enumerate(history):
        step(inventory, item)
        if number % stride == 0:
            snapshot = inventory.snapshot()
            assert build(snapshot, DOMAIN, memo) == build(snapshot, DOMAIN)


def built(memo: Memo, *texts: str) -> tuple[Mesh, tuple[Status, ...]]:
    inventory = Inventory()
    for text in texts:
        inventory.put(parse(text, text[:40]).objects[0])
    return build(inventory.snapshot(), DOMAIN, memo)


def service(name: str, port: int = 80) -> str:
    return f"""{{apiVersion: v1, kind: Service, metadata: {{name: {name}}},
      spec: {{ports: [{{name: http, port: {port}}}]}}}}"""


def test_what_did_not_change_is_the_same_object() -> None:
    memo = Memo()
    one, two = service("one"), service("two")
    before, statuses = built(memo, one, two)
    after, again = built(memo, one, service("two", 81))
    assert after.services[0] is before.services[0]
    assert after.services[1] is not before.services[1]
    assert after.security is before.security
    assert again is statuses


class _Numbers(Index):
    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers

    @asked
    def of(self, name: str) -> int:
        return self._numbers[name]


@pytest.mark.parametrize(("numbers", "made"), [({"a": 1, "b": 3}, []), ({"a": 2, "b": 2}, ["a"])])
def test_an_object_is_made_again_when_an_answer_has_changed(
    numbers: dict[str, int], made: list[str]
) -> None:
    memo, calls = Memo(), list[str]()

    def build_with(index: _Numbers) -> dict[str, int]:
        def one(name: str) -> int:
            calls.append(name)
            return index.of(name)

        def all_of(each: Each) -> dict[str, int]:
            return dict(zip("a", each("numbers", str, one, (("a",),)), strict=True))

        return memo.stage("all", all_of)

    build_with(memo.index("numbers", _Numbers, {"a": 1, "b": 2}))
    calls.clear()
    assert build_with(memo.index("numbers", _Numbers, numbers)) == {"a": numbers["a"]}
    assert calls == made
