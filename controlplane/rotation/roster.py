"""Which proxies there are: those that are connected, and those that may come back.

A proxy that went away without a word may still hold a certificate and serve with it, so a rotation
must know it. It is forgotten when its certificate has ended, or when it has ended its stream in
order, as a proxy does that is stopped. Kept in STATE/proxies.json over a restart of the control
plane. Knows nothing of rotations.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from certs.files import write_public
from certs.x509 import validity
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push

log = logging.getLogger("weft.controlplane.rotation")

ROSTER_FILE = "proxies.json"
MAX_PROXIES = 50_000
UNKNOWN_LIFE_S = 24 * 3600.0
"""How long whoever showed no certificate is remembered: what leaves live at most by default."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A proxy that was here. Times in Unix seconds; until: when it has nothing to serve with."""

    node_id: str
    identity: str
    seen_at: float
    until: float


class Roster:
    """Implements the streams' Observer."""

    __slots__ = ("_absent", "_clock", "_here", "_path", "_saved", "changes")

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._here: dict[str, Connection] = {}
        self._absent = _load(path)
        self.changes = 0
        self._saved = 0

    def connected(self) -> Mapping[str, Connection]:
        """By node id; of several streams of a node the youngest."""
        return self._here

    def absent(self) -> tuple[Absent, ...]:
        """Who may come back, in the order of their ids."""
        now = self._clock()
        for node_id in [n for n, one in self._absent.items() if one.until <= now]:
            del self._absent[node_id]
            self.changes += 1
        return tuple(self._absent[node_id] for node_id in sorted(self._absent))

    def snapshot(self) -> tuple[Absent, ...] | None:
        """Everybody, to be written down; None if nothing has changed since."""
        if self._saved == self.changes:
            return None
        self._saved = self.changes
        now = self._clock()
        return (*self.absent(), *(_seen(one, now) for one in self._here.values()))

    def save(self, everybody: tuple[Absent, ...]) -> None:
        """Blocks on the disk."""
        try:
            write_public(self._path, json.dumps([asdict(one) for one in everybody]).encode())
        except OSError as error:
            self._saved = -1
            log.error("%s cannot be written: %s", self._path, error.strerror)

    # ------------------------------------------------------------------ Observer

    def changed(self, connection: Connection) -> None:
        node_id = connection.node.id
        known = self._here.get(node_id)
        if connection.open:
            if known is None or known.connected_at < connection.connected_at:
                self._here[node_id] = connection
                self._absent.pop(node_id, None)
                self.changes += 1
        elif known is connection:
            del self._here[node_id]
            self.changes += 1
            if not connection.left and not connection.unwanted:
                self._miss(connection)

    def pushed(self, connection: Connection, push: Push) -> None:
        """It says nothing of who is here."""

    def rejected(self, connection: Connection, answer: Answer) -> None:
        """It says nothing of who is here."""

    def converged(self, connection: Connection, after_s: float) -> None:
        """It says nothing of who is here."""

    def _miss(self, connection: Connection) -> None:
        if len(self._absent) >= MAX_PROXIES:
            del self._absent[next(iter(self._absent))]
        self._absent[connection.node.id] = _seen(connection, self._clock())


def _seen(connection: Connection, now: float) -> Absent:
    leaf = connection.leaf
    until = validity(leaf)[1] if leaf is not None else now + UNKNOWN_LIFE_S
    return Absent(connection.node.id, str(connection.identity), now, until)


def _absent(one: Mapping[str, Any]) -> Absent:
    identity, times = str(one["identity"]), (float(one["seen_at"]), float(one["until"]))
    return Absent(str(one["node_id"]), identity, *times)


def _load(path: Path) -> dict[str, Absent]:
    """Nobody, with a warning, where the file is spoiled: it only helps to name who is away."""
    try:
        found = [_absent(one) for one in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is not used, who was away is not known: %s", path, error)
        return {}
    return {one.node_id: one for one in found[:MAX_PROXIES]}
