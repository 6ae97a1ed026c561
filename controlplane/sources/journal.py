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
from pathlib import Path
from typing import Any

import yaml

from controlplane.mesh.model import Status
from controlplane.sources.memory import MemorySource

log = logging.getLogger("weft.controlplane.journal")

Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Journal:
    __slots__ = ("_entries", "_path", "_provisional", "_source")

    def __init__(self, path: Path, source: MemorySource) -> None:
        self._path = path
        self._source = source
        self._entries: dict[Key, dict[str, str]] = {}
        self._provisional: set[Key] = set()

    def restore(self) -> int:
        """Applies what the file holds; answers how many objects. A file that is not as we wrote
        it is left out with a warning: those who registered will do so again."""
        try:
            entries = json.loads(self._path.read_bytes())
            for entry in entries:
                self.apply(entry["manifest"], entry["source"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is passed over: %s", self._path, error)
        self._provisional = set(self._entries)
        return len(self._entries)

    def apply(self, manifest: str, source: str) -> tuple[Status, ...]:
        """MemorySource.apply, remembered if it took effect."""
        statuses = self._source.apply(manifest, source)
        if any(status.severity == "error" for status in statuses):
            return statuses
        for key, document in _documents(manifest):
            self._entries[key] = {"manifest": json.dumps(document), "source": source}
            self._provisional.discard(key)
        self._write()
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


def _documents(manifest: str) -> list[tuple[Key, dict[str, Any]]]:
    """Each object of a manifest that parsing has accepted, those of a List one by one."""
    found: list[tuple[Key, dict[str, Any]]] = []
    for document in yaml.safe_load_all(manifest):
        items = document.get("items", ()) if _is_list(document) else (document,)
        found += [(_key(item), item) for item in items if isinstance(item, dict)]
    return found


def _is_list(document: object) -> bool:
    return isinstance(document, dict) and str(document.get("kind", "")).endswith("List")


def _key(document: dict[str, Any]) -> Key:
    metadata = document.get("metadata") or {}
    namespace = str(metadata.get("namespace") or "default")
    return str(document.get("kind", "")), namespace, str(metadata.get("name", ""))
