"""Where translation notes what it has to say about objects: the one way to make a Status."""

from __future__ import annotations

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

    def statuses(self) -> tuple[Status, ...]:
        """Sorted, each once."""
        return tuple(sorted(self._statuses))
