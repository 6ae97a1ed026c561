"""Filters that look at a connection before its first bytes go on, and may turn it away.

    first bytes, or their end -> one filter after the other -> let through, or turned away

Envoy's network filters `rbac` and `ext_authz` judge at the first data, so that TLS has told who is
there; what a server says before reaches its client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.connection import ConnectionInfo
from proxy.http.message import Request
from proxy.l4.record import NO_REQUEST


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why, for the log: Envoy's response flag, response code details, and termination details.
    delay_s: how long it is kept waiting first."""

    flag: str = ""
    detail: str = ""
    termination: str = ""
    delay_s: float = 0.0


Told = Callable[[TurnedAway | None], None]
"""Called once, perhaps at once. None: it may pass."""
Cancel = Callable[[], None]


class Visitor:
    """A connection as rules see it (`rbac_engine.Subject`)."""

    __slots__ = ("filter_state", "info", "metadata", "remote", "request", "route")

    def __init__(self, info: ConnectionInfo, metadata: dict[str, dict[str, Any]]) -> None:
        self.info = info
        self.remote = info.remote
        self.metadata = metadata
        self.filter_state: Mapping[str, Any] = {}
        self.request: Request = NO_REQUEST
        self.route = None


class Guard(Protocol):
    def judge(self, visitor: Visitor, told: Told) -> Cancel | None:
        """None if `told` was called already."""


class Guards:
    """Those of one filter chain."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self.all = tuple(guards)

    def begin(
        self, info: ConnectionInfo, metadata: dict[str, dict[str, Any]], told: Told
    ) -> Cancel:
        """Answers how to end it when the connection does."""
        walk = _Walk(self.all, Visitor(info, metadata), told)
        walk.go_on()
        return walk.cancel


class _Walk:
    """One connection's way past the guards."""

    __slots__ = ("_at", "_cancel", "_guards", "_over", "_told", "_visitor")

    def __init__(self, guards: Sequence[Guard], visitor: Visitor, told: Told) -> None:
        self._guards = guards
        self._visitor = visitor
        self._told = told
        self._at = 0
        self._over = False
        self._cancel: Cancel | None = None

    def go_on(self) -> None:
        if self._at == len(self._guards):
            self._end(None)
            return
        guard = self._guards[self._at]
        self._at += 1
        self._cancel = guard.judge(self._visitor, self._on_told)

    def _on_told(self, why: TurnedAway | None) -> None:
        if self._over:
            return
        self._cancel = None
        if why is None:
            self.go_on()
        else:
            self._end(why)

    def _end(self, why: TurnedAway | None) -> None:
        self._over = True
        self._told(why)

    def cancel(self) -> None:
        self._over = True
        if self._cancel is not None:
            self._cancel()
