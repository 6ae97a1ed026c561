"""Which proxies there are: those that are connected, and those that may come back.

A proxy that went away without a word may still hold a certificate and serve with it, so a rotation
must know it. It is forgotten when its certificate has ended, or when it has ended its stream in
order, as a proxy does that is stopped. Kept in STATE/proxies.json over a restart of the control
plane. Knows nothing of rotations.

Node ids are free words: only with the identity that a stream proved do they name a proxy, and one
workload can push no other's proxies off the list. How many may be connected is decided where they
are admitted (controlplane.xds.admission.Seats).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from certs.files import write_public
from certs.x509 import Certificate, validity
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.rotation")

ROSTER_FILE = "proxies.json"
MAX_PROXIES = 50_000
MAX_OF_ONE_IDENTITY = 1_000
UNKNOWN_LIFE_S = 24 * 3600.0
"""How long whoever showed no certificate is remembered: what leaves live at most by default."""


ProxyKey = tuple[str, str]
"""(node id, identity)"""


def key_of(connection: Connection) -> ProxyKey:
    return connection.node.id, str(connection.identity)


@frozen
class Absent:
    """A proxy that was here. Times in Unix seconds; until: when it has nothing to serve with."""

    node_id: str
    identity: str
    seen_at: float
    until: float

    @property
    def key(self) -> ProxyKey:
        return self.node_id, self.identity


class Roster:
    """Implements the streams' Observer. Of those who are away at most MAX_OF_ONE_IDENTITY of an
    identity are known, and MAX_PROXIES of all; the identity that has most loses its oldest."""

    __slots__ = (
        "_absent",
        "_away",
        "_clock",
        "_here",
        "_path",
        "_saved",
        "_told",
        "_youngest",
        "changes",
    )

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._here: dict[ProxyKey, Connection] = {}
        self._youngest: set[Connection | None] = set()
        self._absent: dict[str, dict[ProxyKey, Absent]] = {}
        self._away = 0
        self._told = False
        for one in _load(path):
            self._miss(one)
        self.changes = 0
        self._saved = 0

    def connected(self) -> Mapping[ProxyKey, Connection]:
        """Of several streams of a proxy the youngest."""
        return self._here

    def absent(self) -> tuple[Absent, ...]:
        """Who may come back, in the order of their ids."""
        now = self._clock()
        everybody = [one for ours in self._absent.values() for one in ours.values()]
        for one in everybody:
            if one.until <= now:
                self._forget(one.key)
                self.changes += 1
        return tuple(sorted((one for one in everybody if one.until > now), key=_by_key))

    def elsewhere(self, keys: Container[ProxyKey]) -> None:
        """These are connected to other replicas, which miss them when they go."""
        for one in self.absent():
            if one.key in keys:
                self._forget(one.key)
                self.changes += 1

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
        if connection.open and connection in self._youngest:
            return  # as nearly always
        if connection.node.dialect == "grpc":
            return  # its certificates are those of the agent beside it, which is here for itself
        key = key_of(connection)
        known = self._here.get(key)
        if connection.open:
            if known is None or known.connected_at < connection.connected_at:
                self._here[key] = connection
                self._youngest.discard(known)
                self._youngest.add(connection)
                self._forget(key)
                self.changes += 1
        elif known is connection:
            del self._here[key]
            self._youngest.discard(connection)
            self.changes += 1
            if not connection.left and not connection.unwanted:
                self._miss(_seen(connection, self._clock()))

    def pushed(self, connection: Connection, push: Push) -> None:
        """It says nothing of who is here."""

    def rejected(self, connection: Connection, answer: Answer) -> None:
        """It says nothing of who is here."""

    def converged(self, connection: Connection, after_s: float) -> None:
        """It says nothing of who is here."""

    def _miss(self, one: Absent) -> None:
        self._forget(one.key)
        if len(self._absent.get(one.identity, ())) >= MAX_OF_ONE_IDENTITY:
            self._make_room(one.identity)
        elif self._away >= MAX_PROXIES:
            sizes = ((len(ours), name == one.identity, name) for name, ours in self._absent.items())
            self._make_room(max(sizes)[2])
        self._absent.setdefault(one.identity, {})[one.key] = one
        self._away += 1

    def _make_room(self, identity: str) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "more proxies went away without a word than are remembered: a rotation will not "
                "wait for the oldest of %s",
                identity,
            )
        self._forget(next(iter(self._absent[identity])))

    def _forget(self, key: ProxyKey) -> None:
        identity = key[1]
        ours = self._absent.get(identity, {})
        if ours.pop(key, None) is None:
            return
        self._away -= 1
        if not ours:
            del self._absent[identity]


def _by_key(one: Absent) -> ProxyKey:
    return one.key


def _seen(connection: Connection, now: float) -> Absent:
    leaf = connection.leaf
    until = end_of(leaf) if leaf is not None else now + UNKNOWN_LIFE_S
    return Absent(connection.node.id, str(connection.identity), now, until)


@lru_cache(MAX_PROXIES)
def end_of(leaf: Certificate) -> float:
    """Everybody's is asked for each time that somebody comes or goes."""
    return validity(leaf)[1]


def _absent(one: Mapping[str, Any]) -> Absent:
    identity, times = str(one["identity"]), (float(one["seen_at"]), float(one["until"]))
    return Absent(str(one["node_id"]), identity, *times)


def _load(path: Path) -> list[Absent]:
    """Nobody, with a warning, where the file is spoiled: it only helps to name who is away."""
    try:
        found = [_absent(one) for one in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is not used, who was away is not known: %s", path, error)
        return []
    return found
