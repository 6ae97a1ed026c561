"""Where translation notes what it has to say about objects: the one way to make a Status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from controlplane.kinds.objects import Object
from controlplane.mesh.model import Position, Status


class Report:
    __slots__ = ("_statuses",)

    def __init__(self) -> None:
        self._statuses: set[Status] = set()

    def error(self, obj: Object, position: Position, code: str, message: str) -> None:
        self._add("error", obj, position, code, message)

    def warning(self, obj: Object, position: Position, code: str, message: str) -> None:
        self._add("warning", obj, position, code, message)

    def info(self, obj: Object, position: Position, code: str, message: str) -> None:
        self._add("info", obj, position, code, message)

    def _add(
        self,
        severity: Literal["error", "warning", "info"],
        obj: Object,
        position: Position,
        code: str,
        message: str,
    ) -> None:
        self._statuses.add(Status(position, severity, code, str(obj.key), message))

    def add(self, said: Iterable[Status]) -> None:
        """What has been said before."""
        self._statuses.update(said)

    def swap(self, said: set[Status]) -> set[Status]:
        """From now on what is said goes there; answers where it went."""
        before, self._statuses = self._statuses, said
        return before

    def statuses(self) -> frozenset[Status]:
        """Each once."""
        return frozenset(self._statuses)
