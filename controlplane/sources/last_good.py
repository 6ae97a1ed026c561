"""The last good policies of each file, kept in the state directory over a restart.

A running control plane keeps the last good version of what is wrong now. One that starts would know
none: a policy in a file that is no YAML any more would be absent, and what it guards open. Of other
files it is kept that they held no policy. What was kept and is spoiled is as if it were not there.
Paths are those below the configuration directory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from controlplane.kinds.objects import Object
from controlplane.kinds.parse import Parsed, parse
from controlplane.sources.held_shut import KINDS
from controlplane.sources.manifests import flow, objects_of

log = logging.getLogger("weft.controlplane.files")

MAX_BYTES = 64 << 20
"""Of all texts. Beyond it the files with the longest are left out, and that is said."""

Texts = dict[str, str]
"""Of one file: the policies by their keys, each behind so many line ends that its place is right.
Empty for a file without any."""


class LastGood:
    """path None: nothing is kept."""

    __slots__ = ("_kept", "_path", "_written")

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: dict[str, Texts] = {}
        self._written: dict[str, Texts] = {}

    def load(self) -> None:
        """What a former process has kept. A spoiled file is said and not used."""
        if self._path is None or not self._path.exists():
            return
        try:
            found = json.loads(self._path.read_bytes())
            if found["sha256"] != _digest(found["policies"]):
                raise ValueError("its checksum does not fit")
            self._kept = {str(name): dict(texts) for name, texts in found["policies"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.error("%s, the last good policies, is not used: %s", self._path, error)
        self._written = dict(self._kept)

    def knows(self, path: str) -> bool:
        """Whether anything was kept of this file, or below this folder."""
        return any(self._at(path))

    def policies(self, path: str, directory: str) -> tuple[Object, ...]:
        """Those of a file, or below a folder that can't be listed. directory: for positions."""
        found: list[Object] = []
        for name in self._at(path):
            for text in self._kept[name].values():
                found += parse(text, os.path.join(directory, name)).objects
        return tuple(found)

    def _at(self, path: str) -> Iterator[str]:
        if path in self._kept:
            return iter((path,))
        return (one for one in sorted(self._kept) if one.startswith(path + os.sep))

    def note(self, path: str, text: str, parsed: Parsed) -> None:
        """A file was read. Of what is wrong now the last that was not stays."""
        if not parsed.whole:
            return
        good = {item.key for item in parsed.objects if item.key.kind in KINDS}
        failed = {str(key) for key in parsed.failed}
        kept = {key: old for key, old in self._kept.get(path, {}).items() if key in failed}
        for key, node in objects_of(text) if good else ():
            if key in good:
                kept[str(key)] = "\n" * (node.line - 1) + flow(node)
        self._kept[path] = kept

    def forget(self, paths: Iterable[str]) -> None:
        """Files that are gone."""
        for path in paths:
            self._kept.pop(path, None)

    def only(self, paths: Iterable[str], unseen: Iterable[str]) -> None:
        """At a start: of other files than these nothing is left; unseen: folders that can't be
        listed, of which nothing is known."""
        folders = tuple(folder + os.sep for folder in unseen)
        gone = self._kept.keys() - set(paths)
        self.forget([path for path in gone if not path.startswith(folders)])

    @property
    def changed(self) -> bool:
        return self._kept != self._written

    def write(self) -> None:
        """Blocks. Atomically, without waiting for the disk; what fails is said."""
        if self._path is None:
            return
        kept = dict(self._kept)
        policies = _bounded(kept)
        temporary = self._path.with_suffix(".new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"sha256": _digest(policies), "policies": policies}, file)
            os.replace(temporary, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
            return
        self._written = kept


def _bounded(kept: dict[str, Texts]) -> dict[str, Texts]:
    sizes = {path: sum(map(len, texts.values())) for path, texts in kept.items()}
    while sum(sizes.values()) > MAX_BYTES:
        longest = max(sizes, key=lambda path: sizes[path])
        log.warning("%s is too long: its last good policies are not kept", longest)
        del sizes[longest]
    return {path: kept[path] for path in sorted(sizes)}


def _digest(policies: object) -> str:
    return hashlib.sha256(json.dumps(policies, sort_keys=True).encode()).hexdigest()
