"""The keys of one issuer over time: which are believed, since when, when to ask again.

A pure state machine on Unix seconds. Keys that were got are believed until others come: a failure
takes nothing away, it is told.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from certs.renewal import retry_delay_s
from controlplane.openid.document import count
from protos.frozen import frozen

REFRESH_S = 20 * 60.0
"""Istio's PILOT_JWT_PUB_KEY_REFRESH_INTERVAL."""

LATE_AFTER_S = 3 * REFRESH_S
"""Keys that could not be looked at for so long are announced."""


Severity = Literal["error", "warning", "info"]


@frozen
class Keys:
    """url: where they are published. since: when these were first seen."""

    url: str
    text: str
    since: float


class Followed:
    """asked_at 0: never yet; got_at 0: never with success. due_at: when to ask next."""

    __slots__ = ("asked_at", "due_at", "error", "failures", "got_at", "issuer", "keys", "timeout_s")

    def __init__(self, issuer: str, timeout_s: float, now: float) -> None:
        self.issuer = issuer
        self.timeout_s = timeout_s
        self.keys: Keys | None = None
        self.asked_at = 0.0
        self.got_at = 0.0
        self.due_at = now
        self.failures = 0
        self.error = ""

    def remembered(self, keys: Keys, got_at: float) -> None:
        """What was on disk."""
        self.keys, self.got_at = keys, got_at

    def got(self, url: str, text: str, now: float, jitter: float) -> bool:
        """True: these are other keys than those that were believed."""
        changed = self.keys is None or self.keys.text != text
        since = now if self.keys is None or changed else self.keys.since
        self.keys = Keys(url, text, since)
        self.asked_at = self.got_at = now
        self.error, self.failures = "", 0
        self.due_at = now + REFRESH_S * (1 - 0.1 * jitter)
        return changed

    def failed(self, reason: str, now: float, jitter: float) -> None:
        self.asked_at = now
        self.failures += 1
        self.error = reason
        self.due_at = now + retry_delay_s(self.failures, jitter)

    def is_late(self, now: float) -> bool:
        return bool(self.error) and now - self.got_at > LATE_AFTER_S

    def said(self, now: float) -> tuple[Severity, str, str]:
        """(severity, code, what there is to say of the issuer's keys). It changes only when
        something happens."""
        if self.keys is None:
            return self._nothing()
        keys = f"{_counted(count(self.keys.text))} of {self.issuer!r}"
        since = f"as of {_moment(self.keys.since)}"
        if self.is_late(now):
            return "warning", "KeysLate", (
                f"{keys}, {since}, stay in force, as they can't be looked up again since "
                f"{_moment(self.got_at)} ({self.error})"
            )  # fmt: skip
        return "info", "KeysFetched", f"{keys} from {self.keys.url}, {since}"

    def _nothing(self) -> tuple[Severity, str, str]:
        if not self.asked_at:
            return "info", "KeysAwaited", (
                f"the keys of {self.issuer!r} are being looked up (OpenID discovery); until they "
                "are here each of its tokens is refused"
            )  # fmt: skip
        return "error", "NoKeys", (
            f"the keys of {self.issuer!r} can't be looked up (OpenID discovery), so each of its "
            f"tokens is refused: {self.error}. If this control plane can't reach them, set jwks, "
            "or jwksUri, which proxies ask"
        )  # fmt: skip


def _counted(number: int) -> str:
    return "1 key" if number == 1 else f"{number} keys"


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
