"""What an earlier version kept in STATE/applied.json goes into the store, once.

The file is renamed then, so that nothing is lost. Policies stay until somebody deletes them; the
others, as in that version, until it is clear that nobody applies them again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from controlplane.kinds.yaml_nodes import YamlError
from controlplane.sources.held_shut import KINDS
from controlplane.sources.store.mirror import Mirror
from controlplane.sources.store.record import Record, records_of
from controlplane.sources.store.values import StoreError

log = logging.getLogger("weft.controlplane.store")

FORMER_FILE = "applied.json"
MIGRATED = ".migrated"


async def migrate(path: Path, mirror: Mirror, place: str) -> None:
    """place: of the store, for the log. Raises StoreAway, and StoreError for a file that is
    spoiled."""
    try:
        found = _read(path)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, RecursionError, YamlError) as error:
        raise StoreError(
            f"{path}, which an earlier version has left, can't be read ({error}), and may hold "
            "policies: restore it from a backup, or move it away and apply its policies again"
        ) from None
    await mirror.take_over(found)
    os.replace(path, path.with_name(path.name + MIGRATED))
    log.warning("%s: %d objects went into the store %s", path, len(found), place)


def _read(path: Path) -> list[Record]:
    entries = [(one["manifest"], one["source"]) for one in json.loads(path.read_bytes())]
    return [one for text, source in entries for one in _records(text, source)]


def _records(manifest: str, source: str) -> Iterator[Record]:
    for record in records_of(manifest, source, transient=False):
        yield replace(record, transient=record.key.kind not in KINDS)
