"""Values that somebody else has written into a store: errors, whatever they are, and no crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.inventory import Inventory
from controlplane.kinds.objects import ObjectKey
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import (
    Record,
    RecordError,
    decode,
    encode,
    key_of,
    name_of,
)
from tests.support.shared_store import Room

POLICY = ObjectKey("AuthorizationPolicy", "shop", "till")
NAME = name_of(POLICY)
GOOD: dict[str, Any] = json.loads(encode(Record(POLICY, "kind: x", 3, "a.yaml"), None))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.tuples(st.text(), st.text(), st.text()))
def test_every_key_has_a_name_of_its_own(key: tuple[str, str, str]) -> None:
    assert key_of(name_of(ObjectKey(*key))) == ObjectKey(*key)


@given(field=st.sampled_from([*GOOD, "sealed", "transient"]), value=JSON)
@example("line", -1)
@example("line", float("inf"))
@example("key", [])
@example("sealed", "AAAA")
def test_a_record_with_anything_in_a_field_is_read_or_refused(field: str, value: Any) -> None:
    try:
        found = decode(NAME, json.dumps({**GOOD, field: value}).encode(), None)
    except RecordError:
        return
    assert found.key == POLICY and found.line >= 1


@given(value=st.binary(max_size=50))
def test_bytes_are_no_record(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode(NAME, value, None)


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"[" * 10_000, b"\xff", json.dumps({**GOOD, "text": "a: ["}).encode()],
    ids=["empty", "fields", "deep", "bytes", "yaml"],
)
async def test_what_can_not_be_read_shuts_what_it_may_guard_and_holds_up_nothing(
    value: bytes,
) -> None:
    room = Room()
    room.values[NAME] = value
    room.values["objects/nonsense"] = b"{}"
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: here}\n"
    other = ObjectKey("Namespace", "default", "here")
    room.values[name_of(other)] = encode(Record(other, text, 1, "b.yaml"), None)
    inventory = Inventory()
    store = room.member()
    Mirror(store, MemorySource(inventory, lambda: None))
    await store.open()
    snapshot = inventory.snapshot()
    assert [one.key.kind for one in snapshot.objects] == ["AuthorizationPolicy", "Namespace"]
    assert [one.code for one in snapshot.statuses] == ["HeldShut"]
