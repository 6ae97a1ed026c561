"""Applied objects over the lives of a control plane: what stays, what ends, what is held shut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from certs.sealed_box import SealedBox
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.objects import ObjectKey
from controlplane.kinds.parse import parse
from controlplane.kinds.service_entry import WorkloadEntry
from controlplane.mesh.model import Status
from controlplane.sources.memory import MemorySource
from controlplane.sources.store.former import migrate
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import decode, encode, name_of, records_of
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.sources.store.values import Change, StoreError


def entry(name: str, address: str = "127.0.0.1") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: {address}, ports: {{http: 9101}}}}
---
"""


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: till, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}
"""
TILL = ObjectKey("AuthorizationPolicy", "shop", "till")
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {tls.key: hush}\n---\n"


class Plane:
    """One life of a control plane on `path`."""

    def __init__(self, path: Path, box: SealedBox | None = None) -> None:
        self.inventory = Inventory()
        self.memory = MemorySource(self.inventory, lambda: None)
        self.store = SqliteStore(path)
        self.mirror = Mirror(self.store, self.memory, box)

    async def apply(
        self, text: str, source: str = "api", *, transient: bool = False
    ) -> tuple[Status, ...]:
        parsed, said = self.memory.examine(text, source)
        assert not parsed.has_errors
        records = records_of(text, source, transient=transient)
        return said + await self.mirror.apply(records, parsed.objects)

    async def delete(self, key: ObjectKey) -> bool:
        return await self.mirror.delete([key])

    def names(self) -> list[str]:
        return [item.key.name for item in self.inventory.snapshot().objects]

    def said(self) -> list[tuple[str, str, str]]:
        found = self.inventory.snapshot().statuses
        return [(one.severity, one.code, one.object) for one in found]

    def denied(self) -> list[tuple[str, bool]]:
        """Namespaces, and whether all of it."""
        found = self.inventory.snapshot().of(AuthorizationPolicy)
        return [(one.key.namespace, not one.spec.rules[0].from_) for one in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


class Lives:
    """One after another, on the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._now: Plane | None = None

    async def begin(self, box: SealedBox | None = None) -> Plane:
        await self.end()
        self._now = Plane(self.path, box)
        await self._now.store.open()
        return self._now

    async def end(self) -> None:
        if self._now is not None:
            await self._now.store.close()
            self._now = None

    async def spoil(self, key: ObjectKey, old: str, new: str) -> None:
        """As if the rules had changed between two versions."""
        store = SqliteStore(self.path)
        found: dict[str, bytes] = {}
        store.listen("", lambda change: found.update(_there(change)))
        await self.end()
        await store.open()
        record = decode(name_of(key), found[name_of(key)], None)
        assert old in record.text
        changed = replace(record, text=record.text.replace(old, new))
        await store.commit({name_of(key): encode(changed, None)})
        await store.close()


def _there(change: Change) -> dict[str, bytes]:
    return {name: value for name, value in change.values.items() if value is not None}


@pytest.fixture
async def lives(path: Path) -> AsyncIterator[Lives]:
    made = Lives(path)
    yield made
    await made.end()


async def test_what_was_applied_is_there_in_the_next_life(lives: Lives) -> None:
    before = await lives.begin()
    await before.apply(entry("a") + entry("b"), "weft apply")
    await before.apply(entry("c"))
    assert await before.delete(ObjectKey("WorkloadEntry", "default", "b"))
    assert not await before.delete(ObjectKey("WorkloadEntry", "default", "b"))
    after = await lives.begin()
    assert after.names() == before.names() == ["a", "c"]


async def test_positions_and_texts_are_those_that_were_written(lives: Lives) -> None:
    before = await lives.begin()
    text = f"# first\n{entry('a')}# second\n{POLICY}"
    await before.apply(text, "shop.yaml")
    after = await lives.begin()
    for plane in (before, after):
        policy = plane.inventory.find(TILL)
        assert policy is not None
        assert str(policy.metadata.position) == "shop.yaml:12:11"
        assert plane.mirror.text_of(TILL) == POLICY.lstrip("\n")


async def test_a_list_is_taken_apart(lives: Lives) -> None:
    plane = await lives.begin()
    item = entry("a").strip().removesuffix("---").strip().replace("\n", "\n  ")
    await plane.apply(f"apiVersion: v1\nkind: List\nitems:\n- {item}\n")
    after = await lives.begin()
    assert after.names() == ["a"]
    assert await after.delete(ObjectKey("WorkloadEntry", "default", "a"))
    assert (await lives.begin()).names() == []


LABELS = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: a
  labels: {day: 2026-11-21, count: 1_000, "v": !!str 1}
  annotations: {time: 12:30:45, sign: =,
    text: "tab\\t, quote \\", back\\\\slash, \\u0085, caf\u00e9, \U0001f600"}
spec: {address: 127.0.0.1, ports: {http: 0x10}, weight: 010}
"""


async def test_what_yaml_readers_disagree_about_comes_back_as_it_was_read(lives: Lives) -> None:
    before = await lives.begin()
    await before.apply(LABELS)
    after = await lives.begin()
    assert after.inventory.snapshot().objects == before.inventory.snapshot().objects != ()


@pytest.mark.parametrize(
    "text",
    [
        f"# one\r# two\n{entry('a')}{POLICY}",
        f"# one\x85# two\n{entry('a')}{POLICY}",
        f"{entry('a')}{POLICY}".replace("\n", "\r\n"),
        f"%YAML 1.1\n---{entry('a')}".removesuffix("---\n"),
        f"--- {{apiVersion: v1, kind: Namespace, metadata: {{name: a}}}}\n---{POLICY}...\n# end\n",
    ],
    ids=["cr", "nel", "crlf", "directive", "inline"],
)
async def test_texts_of_unusual_lines_come_back_as_they_were_read(lives: Lives, text: str) -> None:
    before = await lives.begin()
    await before.apply(text)
    after = await lives.begin()
    assert after.inventory.snapshot().objects == before.inventory.snapshot().objects != ()


# --------------------------------------------------------------------------- transient


async def test_registered_workloads_outlast_a_crash_only_if_registered_again(lives: Lives) -> None:
    first = await lives.begin()
    await first.apply(entry("a") + entry("b"), "weft up", transient=True)
    await first.apply(entry("c"))
    after = await lives.begin()
    assert after.names() == ["a", "b", "c"]
    await after.apply(entry("b"), "weft up", transient=True)
    assert await after.mirror.expire() == 1
    assert after.names() == ["b", "c"]
    assert await after.mirror.expire() == 0
    assert (await lives.begin()).names() == ["b", "c"]


async def test_registered_workloads_end_with_a_clean_stop(lives: Lives) -> None:
    first = await lives.begin()
    await first.apply(entry("a"), "weft up", transient=True)
    await first.apply(entry("c"))
    await first.mirror.forget()
    assert (await lives.begin()).names() == ["c"]


# --------------------------------------------------------------------------- secrets


async def test_a_key_is_not_written_down_unsealed(lives: Lives) -> None:
    plane = await lives.begin()
    (told,) = await plane.apply(SECRET + entry("a"))
    assert (told.severity, told.code) == ("warning", "MemoryOnly")
    assert sorted(plane.names()) == ["a", "s"]
    after = await lives.begin()
    assert after.names() == ["a"]
    await after.apply(SECRET)
    assert await after.delete(ObjectKey("Secret", "default", "s"))
    assert after.names() == ["a"]


async def test_a_key_is_sealed_with_the_passphrase(lives: Lives) -> None:
    plane = await lives.begin(SealedBox(b"open sesame"))
    assert await plane.apply(SECRET) == ()
    assert (await lives.begin(SealedBox(b"open sesame"))).names() == ["s"]
    await lives.end()
    assert b"hush" not in lives.path.read_bytes()
    for box in (None, SealedBox(b"another")):
        other = await lives.begin(box)
        assert (other.names(), other.said()) == (
            [],
            [("error", "NotRestored", "Secret default/s")],
        )


# --------------------------------------------------------------------------- refused now


@pytest.mark.parametrize(("old", "new"), [("DENY", "MAYBE"), ("security.istio.io/v1", "of.old/v0")])
async def test_a_policy_that_is_refused_now_shuts_what_it_guards(
    lives: Lives, old: str, new: str
) -> None:
    await (await lives.begin()).apply(POLICY)
    await lives.spoil(TILL, old, new)
    for _ in range(2):
        after = await lives.begin()
        assert after.denied() == [("shop", True)]
        assert after.said() == [("error", "HeldShut", "AuthorizationPolicy shop/till")]
    await after.apply(POLICY)
    assert (after.denied(), after.said()) == ([("shop", False)], [])
    assert (await lives.begin()).denied() == [("shop", False)]


async def test_one_that_is_held_shut_can_be_deleted(lives: Lives) -> None:
    await (await lives.begin()).apply(POLICY)
    await lives.spoil(TILL, "DENY", "MAYBE")
    after = await lives.begin()
    assert await after.delete(TILL)
    assert (after.denied(), after.said()) == ([], [])
    assert (await lives.begin()).said() == []


async def test_what_is_no_policy_is_left_out_and_told(lives: Lives) -> None:
    await (await lives.begin()).apply(entry("a") + entry("b"))
    await lives.spoil(ObjectKey("WorkloadEntry", "default", "a"), "ports", "prots")
    after = await lives.begin()
    assert after.names() == ["b"]
    assert after.said() == [("error", "NotRestored", "WorkloadEntry default/a")]


# --------------------------------------------------------------------------- several sources


async def test_files_come_first_and_what_was_applied_stays_behind_them(lives: Lives) -> None:
    await (await lives.begin()).apply(POLICY, "mine.yaml")
    after = Plane(lives.path)
    await lives.end()
    file = Origin.file("a.yaml")
    theirs = POLICY.replace("{namespaces: [x]}", "{namespaces: [z]}")
    after.inventory.replace(file, parse(theirs, "a.yaml").objects)
    await after.store.open()
    (told,) = after.inventory.snapshot().statuses
    assert (told.code, str(told.position)) == ("Duplicate", "mine.yaml:2:1")
    assert "a.yaml:2:1, which stays in force: files come before" in told.message
    after.inventory.replace(file, ())
    (mine,) = after.inventory.snapshot().objects
    assert (mine.position.source, after.said()) == ("mine.yaml", [])
    await after.store.close()


# --------------------------------------------------------------------------- earlier versions


async def test_what_an_earlier_version_left_goes_over_once(
    lives: Lives, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former = tmp_path / "applied.json"
    content = [{"manifest": POLICY, "source": "api"}, {"manifest": entry("a"), "source": "weft up"}]
    former.write_text(json.dumps(content))
    plane = await lives.begin()
    await migrate(former, plane.mirror, plane.store.place)
    assert sorted(plane.names()) == ["a", "till"]
    assert not former.exists() and former.with_name("applied.json.migrated").exists()
    assert "2 objects went into the store" in caplog.text
    await migrate(former, plane.mirror, plane.store.place)
    assert await plane.mirror.expire() == 1  # as that version did with workloads
    assert (await lives.begin()).names() == ["till"]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"manifest": "x"}]', "7", "[" * 100_000])
async def test_a_spoiled_file_of_an_earlier_version_is_refused_and_left(
    lives: Lives, tmp_path: Path, content: str
) -> None:
    former = tmp_path / "applied.json"
    former.write_text(content)
    plane = await lives.begin()
    with pytest.raises(StoreError, match=r"applied\.json.*move it away"):
        await migrate(former, plane.mirror, plane.store.place)
    assert former.read_text() == content


async def test_of_two_at_the_same_time_the_later_one_is_in_force(lives: Lives) -> None:
    """Also where it equals what was there before both."""
    plane = await lives.begin()
    await plane.apply(entry("a", "10.0.0.1"))
    other, again = plane.apply(entry("a", "10.0.0.2")), plane.apply(entry("a", "10.0.0.1"))
    await asyncio.gather(other, again)
    (item,) = plane.inventory.snapshot().of(WorkloadEntry)
    assert item.spec.address == "10.0.0.1"


async def test_what_is_applied_while_it_is_deleted_is_there(lives: Lives) -> None:
    plane = await lives.begin()
    await plane.apply(entry("a"))
    key = ObjectKey("WorkloadEntry", "default", "a")
    await asyncio.gather(plane.delete(key), plane.apply(entry("a")))
    assert plane.names() == ["a"]
