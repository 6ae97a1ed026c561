"""Resources from files (`path_config_source`): a DiscoveryResponse in YAML, JSON or binary.

A file is read again when another file was moved to its place (Envoy's rule: what is written in
place may be half written); a file of secrets, too, when that befell a certificate or a key that it
names. What can't be read or decoded leaves everything as it was. Each file is kept open, as its
number, by which it is known, would else be the next file's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError, Message

from protos.types import CDS, LDS, SDS
from proxy.config.decode import name_of
from proxy.config.positions import BadConfig, compose
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader
from proxy.tasks import spawn
from proxy.xds.update import Received, Update

log = logging.getLogger("weft.xds")
# It tells every event: a log in the folder that is watched would be told of its own lines forever.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

Source = tuple[str, str]
"""(type URL, path of the file)"""
Wanted = Mapping[Source, Set[str]]
"""And the names of what is wanted of it; none where it is all that there is."""
_BINARY = (".pb", ".binpb")
_WATCH_DEBOUNCE_MS = 50
_LOOK_MS = 1000
"""How often to look without being told: not all file systems tell, and a watch may miss a move."""


Number = tuple[int, int] | None
"""Which file it is: another one after a move; None: there is none."""


@dataclass(slots=True)
class _Read:
    """One file that was read, or could not be: then there is no `file`. wanted: what it was read
    for and is still wanted; of what is not, nobody has kept what it says. named: the files that it
    names, as they were then."""

    number: Number
    wanted: Set[str]
    file: BinaryIO | None
    named: Mapping[str, Number] = field(default_factory=dict)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class Files:
    """take: what is called with the contents of each file, when it is first read and after each
    move. sources: which files are wanted now. done: called when all that was new was taken."""

    def __init__(
        self,
        sources: Callable[[], Wanted],
        take: Callable[[Update], Awaitable[object]],
        done: Callable[[], None],
    ) -> None:
        self._sources = sources
        self._take = take
        self._done = done
        self._read: dict[Source, _Read] = {}
        self._watches: dict[Path, asyncio.Task[None]] = {}
        self._reading = asyncio.Lock()

    async def follow(self) -> None:
        """Reads what is wanted and not read yet or moved, and whatever that wants in turn."""
        found = False
        async with self._reading:
            while changed := self._changed():
                found = True
                for one, names in changed:
                    await self._read_one(one, names)
        self._watch()
        if found:
            self._done()

    def close(self) -> None:
        for task in self._watches.values():
            task.cancel()
        for read in self._read.values():
            read.close()

    def _changed(self) -> list[tuple[Source, Set[str]]]:
        wanted = self._sources()
        for one in list(self._read):
            if one in wanted:
                self._read[one].wanted &= wanted[one]
            else:
                self._read.pop(one).close()
        return [(one, names) for one, names in sorted(wanted.items()) if self._is_new(one, names)]

    def _is_new(self, one: Source, names: Set[str]) -> bool:
        number, read = _number(one[1]), self._read.get(one)
        if number is None or read is None:
            return number is not None
        moved = any(_number(path) != was for path, was in read.named.items())
        return moved or number != read.number or not names <= read.wanted

    async def _read_one(self, one: Source, names: Set[str]) -> None:
        type_url, path = one
        try:
            self._note(one, names)
            update = contents(type_url, Path(path))
            self._read[one].named = {each: _number(each) for each in named_files(update)}
        except (BadConfig, OSError, DecodeError) as error:
            log.warning("%s: %s; what was there before stays", path, error)
            return
        await self._take(update)

    def _note(self, one: Source, names: Set[str]) -> None:
        """Raises OSError."""
        before = self._read.pop(one, None)
        self._read[one] = _Read(_number(one[1]), names, None)
        file = open(one[1], "rb")  # noqa: SIM115 — until there is another
        self._read[one] = _Read(_number(file.fileno()), names, file)
        if before is not None:
            before.close()

    def _watch(self) -> None:
        paths = {path for _, path in self._sources()}
        paths.update(path for read in self._read.values() for path in read.named)
        folders = {Path(path).absolute().parent for path in paths}
        folders = {folder for folder in folders if folder.is_dir()}  # others: when they are there
        for folder in folders - self._watches.keys():
            self._watches[folder] = spawn(self._follow_folder(folder), f"watch {folder}")

    async def _follow_folder(self, folder: Path) -> None:
        import watchfiles  # not needed by who has no such files

        async for _ in watchfiles.awatch(
            folder,
            recursive=False,
            debounce=_WATCH_DEBOUNCE_MS,
            step=10,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        ):
            await self.follow()


def named_files(update: Update) -> set[str]:
    """Where the secrets of an answer have their certificates and keys."""
    found: set[str] = set()
    if update.type_url == SDS:
        for each in update.resources:
            secret = secret_pb2.Secret()
            secret.ParseFromString(each.body)
            found.update(_data_files(secret))
    return found


def _data_files(message: Message) -> Iterator[str]:
    if isinstance(message, base_pb2.DataSource):
        if message.filename:
            yield message.filename
        return
    for known, value in message.ListFields():
        if known.message_type is not None:
            for one in value if known.is_repeated else (value,):
                yield from _data_files(one)


def _number(file: str | int) -> Number:
    """The same after a write."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def contents(type_url: str, path: Path) -> Update:
    """What the file says. Raises BadConfig, OSError or DecodeError."""
    message = discovery_pb2.DiscoveryResponse()
    if path.suffix in _BINARY:
        message.ParseFromString(path.read_bytes())
    else:
        reader = Reader()
        try:
            reader.read(compose(path), message)
        except Rejected as error:
            raise BadConfig(str(path), reader.position(error.path), error) from None
    version = message.version_info or _digest(message)
    resources = tuple(
        Received(name_of(type_url, each.value), version, each.type_url, each.value)
        for each in message.resources
    )
    return Update(type_url, "", version, resources, complete=type_url in (CDS, LDS))


def _digest(message: discovery_pb2.DiscoveryResponse) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:16]
