"""The store in a file, for one control plane: SQLite, in a thread of its own.

A commit is on the disk before it counts (WAL, synchronous=FULL). The file is held exclusively, and
looked through at the start: one that is damaged, of another program or of another version is
refused by name, and never changed or replaced. SQLite has no checksums of content, so each value
has one here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from controlplane.sources.store.values import (
    Change,
    Listener,
    Listeners,
    StoreAway,
    StoreError,
    Values,
)

T = TypeVar("T")
FILE = "store.sqlite3"
APPLICATION_ID = 0x57656674
"""'Weft', in the header of the file."""
VERSION = 1
MAX_BYTES = 1 << 30
_LOCKED_FOR_S = 1.0
_HEADER_BYTES = 100
_SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
    "CREATE TABLE stored (name TEXT PRIMARY KEY, value BLOB NOT NULL, sha256 BLOB NOT NULL)",
)


class SqliteStore:
    """Made anew where there is no file."""

    shared = False
    away = ""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._listeners = Listeners()
        self._thread = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None

    @property
    def place(self) -> str:
        return f"sqlite:{self._path}"

    def listen(self, prefix: str, listener: Listener) -> None:
        self._listeners.add(prefix, listener)

    async def open(self) -> None:
        self._listeners.tell(Change(await self._run(self._open), whole=True))

    async def commit(self, values: Values, transient: Collection[str] = ()) -> None:
        """What is begun is told, too: whoever asked for it may have gone meanwhile. It is told in
        the order in which it is written, as there is one thread, and in the loop's next turn: one
        may take long when many others want something."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            loop.call_soon_threadsafe(self._written, values, done, self._failure(values))

        self._thread.submit(work)
        await done

    def _written(
        self, values: Values, done: asyncio.Future[None], failure: Exception | None
    ) -> None:
        try:
            if failure is None:
                self._listeners.tell(Change(values))
        except Exception as error:  # whatever it is, it is the one's who asked
            failure = error
        if done.done():
            return
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # ------------------------------------------------------------------ in the thread

    def _open(self) -> dict[str, bytes]:
        try:
            if not os.path.lexists(self._path):
                _make(self._path)
            _check_header(self._path)
            self._connection = sqlite3.connect(self._path, timeout=_LOCKED_FOR_S)
            _prepare(self._connection, self._max_bytes)
            return _read(self._path, self._connection)
        except sqlite3.Error as error:
            self._close()
            raise StoreError(_why(self._path, error)) from None
        except OSError as error:
            raise StoreError(f"the store {self._path}: {error.strerror}") from None
        except StoreError:
            self._close()
            raise

    def _failure(self, values: Values) -> Exception | None:
        """Writes them; why that can't be."""
        try:
            self._write(values)
        except sqlite3.Error as error:
            away = StoreAway(
                f"the store {self._path} can't be written ({error}): nothing was changed; "
                "make room on the disk or mend its permissions, and try again"
            )
            away.__cause__ = error
            return away
        except Exception as error:  # raised where it is waited for
            return error
        return None

    def _write(self, values: Values) -> None:
        assert self._connection is not None
        gone = [(name,) for name, value in values.items() if value is None]
        here = [(name, one, _digest(name, one)) for name, one in values.items() if one is not None]
        with self._connection:  # begins with the first statement, and commits or rolls back
            self._connection.executemany("DELETE FROM stored WHERE name = ?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO stored VALUES (?, ?, ?)", here)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _make(path: Path) -> None:
    """Whole or not at all: an empty file is one that was damaged. Of two who make it at the same
    time the second one has what the first one made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        temporary = Path(scratch) / path.name
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(temporary, isolation_level=None)
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.close()
        with suppress(FileExistsError):
            os.link(temporary, path)


def _check_header(path: Path) -> None:
    """Before SQLite touches it: opening a database in WAL mode changes it (fileformat2, 1.3)."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        raise StoreError(_damaged(path, "it is no database" if header else "it is empty"))
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program: name another one with --store")
    if int.from_bytes(header[60:64], "big") != VERSION:
        raise StoreError(f"{path} is of another version of Weft: use that one, or another --store")


def _prepare(connection: sqlite3.Connection, max_bytes: int) -> None:
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}")


def _read(path: Path, connection: sqlite3.Connection) -> dict[str, bytes]:
    """All of it, looked through. Raises StoreError."""
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StoreError(_damaged(path, " ".join(str(found).split())))
    values: dict[str, bytes] = {}
    for name, value, digest in connection.execute("SELECT name, value, sha256 FROM stored"):
        if not isinstance(value, bytes) or digest != _digest(name, value):
            raise StoreError(_damaged(path, f"the checksum of {name!a} does not fit"))
        values[name] = value
    return values


def _digest(name: str, value: bytes) -> bytes:
    return hashlib.sha256(f"{name}\0".encode() + value).digest()


def _why(path: Path, error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return (
            f"another control plane uses the store {path}: stop it, or give this one its own with "
            "--store (several replicas share an etcd: --store etcd://HOST:PORT/PREFIX)"
        )
    if isinstance(error, sqlite3.OperationalError):
        return f"the store {path} can't be opened: {error}"
    return _damaged(path, str(error))


def _damaged(path: Path, why: str) -> str:
    return (
        f"the store {path} is damaged ({why}) and was left as it is: restore it from a backup, or "
        "move it away and apply its objects again"
    )
