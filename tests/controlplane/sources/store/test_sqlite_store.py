"""The embedded store: all or nothing, on the disk, and never a damaged file taken or replaced."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.sources.store import sqlite
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.sources.store.values import Change, StoreAway, StoreError
from controlplane.tasks import spawn

MANY = {f"objects/{number}": b"x" * 500 for number in range(200)}


class Heard:
    def __init__(self, store: SqliteStore, prefix: str = "") -> None:
        self.changes: list[Change] = []
        store.listen(prefix, self.changes.append)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.sqlite3"


def filled(path: Path) -> bytes:
    async def fill() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.commit(MANY)
        await store.close()

    asyncio.run(fill())
    return path.read_bytes()


async def refused(path: Path) -> str:
    store = SqliteStore(path)
    with pytest.raises(StoreError) as caught:
        await store.open()
    await store.close()
    return str(caught.value)


async def test_what_is_committed_is_told_and_found_again(path: Path) -> None:
    store = SqliteStore(path)
    heard, other = Heard(store, "objects/"), Heard(store, "other/")
    await store.open()
    await store.commit({"objects/a": b"1", "objects/b": b"2"})
    await store.commit({"objects/a": None, "objects/c": b"3"})
    assert heard.changes == [
        Change({}, whole=True),
        Change({"objects/a": b"1", "objects/b": b"2"}),
        Change({"objects/a": None, "objects/c": b"3"}),
    ]
    assert other.changes == [Change({}, whole=True)]
    await store.close()
    again = SqliteStore(path)
    heard = Heard(again)
    await again.open()
    assert heard.changes == [Change({"objects/b": b"2", "objects/c": b"3"}, whole=True)]
    await again.close()


def test_the_file_is_its_owners_alone(path: Path) -> None:
    filled(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["store.sqlite3"]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """A bit within a value, which SQLite does not look at."""
    at = data.rindex(b"x" * 300) + 100
    return data[:at] + b"y" + data[at + 1 :]


def torn(data: bytes) -> bytes:
    """A page of zeros."""
    return data[:8192] + b"\0" * 4096 + data[12288:]


def emptied(data: bytes) -> bytes:
    return b""


def overwritten(data: bytes) -> bytes:
    return b"text" * 99


@pytest.mark.parametrize("spoil", [cut, flipped, torn, emptied, overwritten])
def test_a_damaged_file_is_refused_and_left_as_it_is(
    path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    spoiled = spoil(filled(path))
    path.write_bytes(spoiled)
    for _ in range(2):
        why = asyncio.run(refused(path))
        assert re.search("is damaged .* restore it from a backup", why)
    assert path.read_bytes() == spoiled


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE stored (name, value, sha256)")
    before = path.read_bytes()
    assert "of another program" in asyncio.run(refused(path))
    assert path.read_bytes() == before


async def test_two_do_not_share_a_file(path: Path) -> None:
    first, second = SqliteStore(path), SqliteStore(path)
    await first.open()
    with pytest.raises(StoreError, match=r"another control plane uses .* --store etcd://"):
        await second.open()
    await first.commit({"objects/a": b"1"})
    await first.close()
    await second.close()


async def test_a_place_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "store.sqlite3")
    with pytest.raises(StoreError, match="File exists"):
        await store.open()
    await store.close()


async def test_a_full_disk_changes_nothing_and_says_so(path: Path) -> None:
    store = SqliteStore(path, max_bytes=50_000)
    heard = Heard(store)
    await store.open()
    await store.commit({"objects/a": b"1"})
    with pytest.raises(StoreAway, match=r"can't be written \(database or disk is full\)") as caught:
        await store.commit({"objects/a": None, "objects/b": b"x" * 100_000})
    assert caught.value.reason == caught.value.strerror
    await store.commit({"objects/c": b"3"})
    await store.close()
    assert len(heard.changes) == 3
    again = SqliteStore(path)
    heard = Heard(again)
    await again.open()
    assert heard.changes == [Change({"objects/a": b"1", "objects/c": b"3"}, whole=True)]
    await again.close()


async def test_whoever_goes_meanwhile_leaves_no_value_that_nobody_was_told_of(path: Path) -> None:
    store = SqliteStore(path)
    heard = Heard(store)
    await store.open()
    asked = spawn(store.commit({"objects/a": b"1"}), "commit")
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    await store.commit({"objects/b": b"2"})
    assert [one.values for one in heard.changes] == [{}, {"objects/a": b"1"}, {"objects/b": b"2"}]
    await store.close()


def test_of_two_first_starts_one_makes_the_file(path: Path) -> None:
    """The second one has found no file, and makes one while the first one uses its own."""
    content = filled(path)
    sqlite._make(path)
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == [path.name]
