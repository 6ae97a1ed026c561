"""A directory of manifests, watched.

    source = FileSource(directory, inventory, on_change)
    source.load()          # once, before serving; raises SourceError for a missing directory
    await source.run()     # until cancelled

Every *.yaml, *.yml and *.json below the directory, in the order of their paths; hidden files and
folders and editors' temporary files are skipped. A file that does not parse, or an object that is
wrong, keeps its last good version in force and gets an error status; of policies that is known over
a restart, too (controlplane.sources.last_good). A policy that has none at a start shuts its
namespace (controlplane.sources.held_shut); of a text that is no YAML, and of which none is known,
nobody knows what it guards: then the control plane is not ready (`doubts`). Events only say that
something happened: the tree is then compared as a whole with what was read, so that renames,
symbolic links swapped as Kubernetes does for ConfigMaps, and lost events (looked for every second)
come to the same. Reading happens in a thread; the inventory is changed, and on_change() called,
in the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic

import watchfiles

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.objects import Object
from controlplane.kinds.parse import Parsed, parse
from controlplane.mesh.model import Position, Status
from controlplane.sources.held_shut import stand_ins
from controlplane.sources.last_good import LastGood
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.files")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells every event and timeout

SUFFIXES = (".yaml", ".yml", ".json")
QUIET_MS = 10
DEBOUNCE_MS = 50
RESCAN_MS = 1000
"""How often to look without an event: for lost ones, and targets of links elsewhere."""
LOOKS_SHARE = 0.01
"""Of the time, at most: many files are looked at less often."""
MAX_BYTES = 16 * 1024 * 1024


class SourceError(Exception):
    """The directory can not be used; the message is for the user."""


_Stamp = tuple[int, int, int, int]
"""What a changed file does not share with the one that was read: device, inode, time, size. No
class: all files' are made at each look."""
_UNSTAMPED: _Stamp = (0, 0, 0, 0)


@frozen
class _File:
    """emptied: the file is empty now, perhaps because it is just being written; parsed is old."""

    stamp: _Stamp
    data: bytes
    parsed: Parsed
    emptied: bool = False


class FileSource:
    """Keeps the inventory's file objects equal to the directory."""

    def __init__(
        self,
        directory: str | Path,
        inventory: Inventory,
        on_change: Callable[[], None],
        rescan_ms: int = RESCAN_MS,
        last_good: Path | None = None,
    ) -> None:
        """last_good: the file in which the last good policies are kept."""
        self._directory = Path(directory)
        self._inventory = inventory
        self._on_change = on_change
        self._rescan_ms = rescan_ms
        self._files: dict[str, _File] = {}
        self._starting = True
        self._last_good = LastGood(last_good)
        self._unknown: dict[str, Status] = {}

    def doubts(self) -> tuple[str, ...]:
        """What could not be read since the start, so that its policies are unknown."""
        return tuple(
            f"{status.position}: {status.message}: what policies it holds is not known; correct or "
            "remove it"
            for status in self._unknown.values()
        )

    def load(self) -> None:
        """Reads the directory for the first time. Does not call on_change."""
        _must_be_listed(self._directory)
        self._last_good.load()
        found = self._scan() or {}
        unseen = [self._below(path) for path, file in found.items() if not file.parsed.whole]
        self._last_good.only(map(self._below, found), unseen)
        self._apply(found)
        self._starting = False

    async def run(self) -> None:
        """Follows the directory until cancelled; starts anew when it is replaced."""
        await self._keep()
        while True:
            try:
                await self._watch()
            except (OSError, RuntimeError) as error:  # RuntimeError: watchfiles' internal errors
                log.warning("watching %s: %s; trying again", self._directory, error)
            await asyncio.sleep(self._rescan_ms / 1000)
            await self._rescan()

    async def _watch(self) -> None:
        identity = _identity(self._directory)
        changes = watchfiles.awatch(
            self._directory,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=QUIET_MS,
            rust_timeout=self._rescan_ms,
            yield_on_timeout=True,
        )
        look_at_s = 0.0
        async for told in changes:
            began_s = monotonic()
            if told or began_s >= look_at_s:
                await self._rescan()
                now_s = monotonic()
                look_at_s = now_s + (now_s - began_s) / LOOKS_SHARE
            if _identity(self._directory) != identity:
                return

    async def _rescan(self) -> None:
        found = await asyncio.to_thread(self._scan)
        if self._apply(found):
            self._on_change()
            await self._keep()

    async def _keep(self) -> None:
        if self._last_good.changed:
            await asyncio.to_thread(self._last_good.write)

    # ------------------------------------------------------------------ reading, in a thread

    def _scan(self) -> dict[str, _File] | None:
        """Every manifest as it is now, those that did not change not read again.

        None: the directory itself is gone."""
        if not self._directory.is_dir():
            return None
        known = self._files
        closed: list[OSError] = []
        paths = _manifests(self._directory, closed.append)
        found = {path: _read(path, known.get(path)) for path in paths}
        for error in closed:
            found |= _out_of_reach(error, known)
        return found

    # ------------------------------------------------------------------ applying, in the loop

    def _apply(self, found: dict[str, _File] | None) -> bool:
        if found is None:
            return self._directory_gone()
        changed = self._inventory.replace(Origin.file(str(self._directory)), ())
        for path in self._files.keys() - found.keys():
            changed |= self._inventory.replace(Origin.file(path), ())
            self._last_good.forget([self._below(path)])
            self._unknown.pop(path, None)
        for path, file in found.items():
            known = self._files.get(path)
            if known is None or known.parsed is not file.parsed:
                changed |= self._replace(path, file.parsed)
                self._last_good.note(self._below(path), _text(file.data), file.parsed)
        self._files = found
        return changed

    def _directory_gone(self) -> bool:
        """An unmounted volume must not empty the mesh."""
        source = str(self._directory)
        message = "the configuration directory is gone; its last content stays in force"
        status = Status(Position(source), "error", "DirectoryGone", f"File {source}", message)
        return self._inventory.replace(Origin.file(source), (), [status])

    def _replace(self, path: str, parsed: Parsed) -> bool:
        origin = Origin.file(path)
        before = self._inventory.objects_of(origin)
        if self._starting and (parsed.failed or not parsed.whole):
            before = self._last_good.policies(self._below(path), str(self._directory))
        self._doubt(path, parsed)
        objects = {item.key: item for item in _still_good(parsed, before)}
        statuses = parsed.statuses
        known = frozenset(item.key for item in before)
        for item, status in stand_ins(parsed, known, path, starting=self._starting):
            objects[item.key] = item
            statuses += (status,)
        if self._starting and known and not parsed.whole:
            statuses += (_held(path, parsed, before),)
        return self._inventory.replace(origin, (*parsed.objects, *objects.values()), statuses)

    def _doubt(self, path: str, parsed: Parsed) -> None:
        """Once there was a text that can be read, all is known."""
        if parsed.whole:
            self._unknown.pop(path, None)
        elif self._starting and not self._last_good.knows(self._below(path)):
            self._unknown[path] = parsed.statuses[0]

    def _below(self, path: str) -> str:
        folder = str(self._directory) + os.sep
        inside = path.startswith(folder)
        return path[len(folder) :] if inside else os.path.relpath(path, self._directory)


def read_once(path: Path) -> dict[str, Parsed]:
    """What a file, or each manifest below a directory, says now, by path. Raises SourceError."""
    if path.is_file():
        return {str(path): _read(str(path), None).parsed}
    if not path.exists():
        raise SourceError(f"{path} does not exist: name a file or directory with manifests")
    _must_be_listed(path)
    closed: list[OSError] = []
    found = {name: _read(name, None) for name in _manifests(path, closed.append)}
    for error in closed:
        found |= _out_of_reach(error, {})
    return {name: file.parsed for name, file in found.items()}


def _must_be_listed(directory: Path) -> None:
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise SourceError(f"the configuration directory {directory} {what}")
    try:
        os.listdir(directory)
    except OSError as error:
        reason = f"can not be read: {error.strerror}"
        raise SourceError(f"the configuration directory {directory} {reason}") from None


def _held(path: str, parsed: Parsed, kept: tuple[Object, ...]) -> Status:
    names = ", ".join(str(item.key) for item in kept)
    message = f"can't be read; in force as before the start: {names}"
    return Status(parsed.statuses[0].position, "warning", "HeldLastGood", f"File {path}", message)


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace")


def _still_good(parsed: Parsed, before: tuple[Object, ...]) -> Iterator[Object]:
    """Earlier objects whose text is now wrong, or can not be found in a text that is wrong."""
    present = {item.key for item in parsed.objects}
    for item in before:
        if item.key not in present and (item.key in parsed.failed or not parsed.whole):
            yield item


def _out_of_reach(error: OSError, known: Mapping[str, _File]) -> dict[str, _File]:
    """What was read from a folder that can not be listed stays; one that is gone has nothing."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return {}
    folder = str(error.filename)
    reason = f"the folder can not be listed: {error.strerror}; what was read from it stays in force"
    status = Status(Position(folder), "error", "Unreadable", f"File {folder}", reason)
    closed = _unreadable(Parsed(statuses=(status,), whole=False), known.get(folder))
    below = {path: file for path, file in known.items() if path.startswith(folder + os.sep)}
    return {**below, folder: closed}


def _manifests(directory: Path, on_error: Callable[[OSError], None]) -> list[str]:
    """Paths of the manifests; linked folders are followed, each real folder once."""
    found: list[str] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(directory, onerror=on_error, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(folder, name) for name in files if _is_manifest(name)]
    return sorted(found)


def _is_manifest(name: str) -> bool:
    """Not an editor's file: '.x.yaml.swp', '.#x.yaml', '#x.yaml#', '~x.yaml'."""
    return name.endswith(SUFFIXES) and not name.startswith((".", "#", "~"))


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _read(path: str, known: _File | None) -> _File:
    try:
        status = os.stat(path)
        stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if known is not None and known.stamp == stamp:
            return known
        data = _bytes(path, status.st_size)
    except OSError as error:
        return _unreadable(_broken(path, f"can not be read: {error.strerror}"), known)
    if not data and known is not None and known.data and not known.emptied:
        return _File(_UNSTAMPED, known.data, known.parsed, emptied=True)
    if known is not None and known.data == data and data:
        return _File(stamp, data, known.parsed)
    return _File(stamp, data, parse_data(path, data))


def _bytes(path: str, size: int) -> bytes:
    """Of a file of which is said that it has so many; of one that is too large one too many. With a
    file object it would take twice as long."""
    at = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(at, min(size, MAX_BYTES) + 1)
        if len(data) != size:  # it grows, shrinks, or says no size
            while len(data) <= MAX_BYTES and (more := os.read(at, MAX_BYTES + 1 - len(data))):
                data += more
        return data
    finally:
        os.close(at)


def _unreadable(parsed: Parsed, known: _File | None) -> _File:
    """Tried again at every scan; the same failure stays the same object, so it is no change."""
    if known is not None and known.parsed == parsed:
        return known
    return _File(_UNSTAMPED, b"", parsed)


def parse_data(path: str, data: bytes) -> Parsed:
    """What the bytes of a file say, or what is wrong with them."""
    if len(data) > MAX_BYTES:
        return _broken(path, f"is larger than {MAX_BYTES} bytes")
    try:
        return parse(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return _broken(path, f"is not UTF-8 (byte 0x{data[error.start]:02x})", line, column)


def _broken(path: str, message: str, line: int = 0, column: int = 0) -> Parsed:
    position = Position(path, line, column)
    status = Status(position, "error", "Unreadable", f"File {path}", f"the file {message}")
    return Parsed(statuses=(status,), whole=False)
