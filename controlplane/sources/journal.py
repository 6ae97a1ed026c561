"""What the management API applied, kept on disk so that a crash of this process empties nothing.

    journal = Journal(state_dir / "applied.json", source)
    journal.restore()          # at start: what was applied before a crash is in force again
    journal.expire()           # some seconds later: without what nobody applied again
    journal.forget()           # at a clean stop: the next start begins with nothing

Workloads are registered by those who run them, and these register again as soon as they find a
new control plane. Until then proxies that reconnect must not be told that there are no endpoints.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence, compose_all
from controlplane.mesh.model import Status
from controlplane.sources.memory import MemorySource

log = logging.getLogger("weft.controlplane.journal")

Key = tuple[str, str, str]
"""Kind, namespace, name."""

NOT_ON_DISK = ("Secret",)
"""Keys are not written down: after a crash whoever applied them does so again."""


class Journal:
    __slots__ = ("_entries", "_path", "_provisional", "_source")

    def __init__(self, path: Path, source: MemorySource) -> None:
        self._path = path
        self._source = source
        self._entries: dict[Key, dict[str, str]] = {}
        self._provisional: set[Key] = set()

    def restore(self) -> int:
        """Applies what the file holds; answers how many objects. What can not be taken, of the
        file or by today's rules, is left out with a warning: whoever registered does so again."""
        try:
            for entry in json.loads(self._path.read_bytes()):
                self._restore(entry["manifest"], entry["source"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("%s is passed over: %s", self._path, error)
        self._provisional = set(self._entries)
        return len(self._entries)

    def apply(self, manifest: str, source: str) -> tuple[Status, ...]:
        """MemorySource.apply, remembered if it took effect."""
        statuses = self._take(manifest, source)
        if not _errors(statuses):
            self._write()
        return statuses

    def _restore(self, manifest: str, source: str) -> None:
        for status in _errors(self._take(manifest, source)):
            message = "%s: %s is not restored: %s"
            log.warning(message, self._path, status.object, status.message)

    def _take(self, manifest: str, source: str) -> tuple[Status, ...]:
        statuses = self._source.apply(manifest, source)
        if not _errors(statuses):
            kept = (item for item in _objects(manifest) if item[0][0] not in NOT_ON_DISK)
            for key, node in kept:
                self._entries[key] = {"manifest": _flow(node), "source": source}
                self._provisional.discard(key)
        return statuses

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """MemorySource.delete, forgotten here too."""
        key = (kind, namespace, name)
        self._provisional.discard(key)
        if self._entries.pop(key, None) is not None:
            self._write()
        return self._source.delete(kind, namespace, name)

    def expire(self) -> int:
        """Deletes what was restored and not applied again since; answers how many objects."""
        stale = tuple(self._provisional)
        for key in stale:
            self.delete(*key)
        return len(stale)

    def forget(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        """Atomically, without waiting for the disk: it is for crashes of this process only."""
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(list(self._entries.values())))
            os.replace(temporary, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def _errors(statuses: tuple[Status, ...]) -> list[Status]:
    return [status for status in statuses if status.severity == "error"]


def _objects(manifest: str) -> Iterator[tuple[Key, Mapping]]:
    """Each object of a manifest that parsing has accepted, those of a List one by one."""
    for document in compose_all(manifest):
        yield from _inside(document)


def _inside(node: Node) -> Iterator[tuple[Key, Mapping]]:
    if not isinstance(node, Mapping):
        return
    items = node.get("items")
    if _text(node, "kind") == "List" and isinstance(items, Sequence):
        for item in items.items:
            yield from _inside(item)
        return
    metadata = node.get("metadata")
    assert isinstance(metadata, Mapping)  # parsing has seen to it
    namespace = _text(metadata, "namespace") or "default"
    yield (_text(node, "kind"), namespace, _text(metadata, "name")), node


def _text(node: Mapping, key: str) -> str:
    value = node.get(key)
    return value.value if isinstance(value, Scalar) else ""


def _flow(node: Node) -> str:
    """YAML in flow style that reads as the same node: scalars keep their text, strings quoted."""
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(value)}" for key, value in node.entries) + "}"
    if isinstance(node, Sequence):
        return "[" + ", ".join(map(_flow, node.items)) + "]"
    if node.kind == "string":
        return '"' + "".join(map(_quoted, node.value)) + '"'
    return "null" if node.kind == "null" else node.value


def _quoted(character: str) -> str:
    plain = " " <= character <= "~" and character not in '"\\'
    return character if plain else f"\\U{ord(character):08x}"
