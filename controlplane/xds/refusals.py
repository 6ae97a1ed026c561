"""What proxies have refused (NACK) and still refuse: kept by stream, told when it is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from controlplane.emit.node import Node
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.wire import Push

MAX_TOLD = 50
"""Refusals that are looked at: a NACK that names no resource stands for all of its response."""


class Refusal(NamedTuple):
    """One resource that a proxy refuses, and its words for why. serial: of the proxy's NACK, so
    that the same words about something new are another one."""

    node: Node
    type_url: str
    name: str
    message: str
    serial: int = 0


class Refusals:
    """Implements the streams' Observer. restate is called when `standing` is another."""

    __slots__ = ("_known", "_restate", "_serial")

    def __init__(self, restate: Callable[[], None]) -> None:
        self._restate = restate
        self._known: dict[Connection, tuple[int, dict[str, dict[str, str]]]] = {}
        self._serial = 0

    def standing(self) -> tuple[Refusal, ...]:
        """In the order of node and name."""
        found = [
            Refusal(connection.node, url, name, message, serial)
            for connection, (serial, types) in self._known.items()
            for url, names in types.items()
            for name, message in names.items()
        ]
        return tuple(sorted(found, key=lambda one: (one.node.id, *one[1:]))[:MAX_TOLD])

    def rejected(self, connection: Connection, answer: Answer) -> None:
        self._serial += 1
        self._known[connection] = (self._serial, connection.machine.rejections)
        self._restate()

    def changed(self, connection: Connection) -> None:
        known = self._known.get(connection)
        if known is None:
            return
        serial, before = known
        now = connection.machine.rejections if connection.open else {}
        if now:
            self._known[connection] = (serial, now)
        else:
            del self._known[connection]
        if now != before:
            self._restate()

    def pushed(self, connection: Connection, push: Push) -> None:
        """An answer will come."""

    def converged(self, connection: Connection, after_s: float) -> None:
        """Nothing more is refused, or `changed` has said so."""
