"""What the management API applied, kept on disk so that a crash of this process empties nothing.

    journal = Journal(state_dir / "applied.json", source)
    journal.restore()          # at start: what was applied before a crash is in force again
    journal.expire()           # some seconds later: without what nobody applied again
    journal.forget()           # at a clean stop: the next start begins with nothing

Workloads are registered by those who run them, and these register again as soon as they find a
new control plane. Until then proxies that reconnect must not be told that there are no endpoints.
Policies do not expire, as without them doors would be open: they stay until somebody deletes them.
One that today's rules refuse is held shut (controlplane.sources.held_shut).
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from controlplane.kinds.objects import ObjectKey
from controlplane.mesh.model import Position, Status
from controlplane.sources.held_shut import KINDS
from controlplane.sources.manifests import flow, objects_of
from controlplane.sources.memory import MemorySource

log = logging.getLogger("weft.controlplane.journal")

NOT_ON_DISK = ("Secret",)
"""Keys are not written down: after a crash whoever applied them does so again."""


class Journal:
    __slots__ = ("_entries", "_path", "_provisional", "_source")

    def __init__(self, path: Path, source: MemorySource) -> None:
        self._path = path
        self._source = source
        self._entries: dict[ObjectKey, dict[str, str]] = {}
        self._provisional: set[ObjectKey] = set()

    def restore(self) -> int:
        """Applies what the file holds; answers how many objects. What can not be taken, of the
        file or by today's rules, is left out with a warning: whoever registered does so again. A
        policy is not left out: what it guards is shut."""
        try:
            for entry in json.loads(self._path.read_bytes()):
                self._restore(entry["manifest"], entry["source"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.error("%s is passed over: %s", self._path, error)
            self._source.say(_lost(self._path, error))
        self._provisional = {key for key in self._entries if key.kind not in KINDS}
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
        for key, _ in objects_of(manifest):
            if key.kind in KINDS and key not in self._entries:
                self._source.hold_shut(key, manifest, source)
                self._entries[key] = {"manifest": manifest, "source": source}

    def _take(self, manifest: str, source: str) -> tuple[Status, ...]:
        statuses = self._source.apply(manifest, source)
        if not _errors(statuses):
            kept = (item for item in objects_of(manifest) if item[0].kind not in NOT_ON_DISK)
            for key, node in kept:
                self._entries[key] = {"manifest": flow(node), "source": source}
                self._provisional.discard(key)
        return statuses

    def text_of(self, key: ObjectKey) -> str:
        """YAML of one that was applied; empty where there is none, and of a Secret."""
        return self._entries.get(key, {}).get("manifest", "")

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """MemorySource.delete, forgotten here too."""
        key = ObjectKey(kind, namespace, name)
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


def _lost(path: Path, error: Exception) -> Status:
    message = (
        f"what was applied before the crash can't be read ({error}): workloads come back by "
        "themselves, policies must be applied again"
    )
    return Status(Position(str(path)), "error", "Unreadable", f"File {path}", message)


def _errors(statuses: tuple[Status, ...]) -> list[Status]:
    return [status for status in statuses if status.severity == "error"]
