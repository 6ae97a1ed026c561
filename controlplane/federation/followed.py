"""One foreign trust domain over time: which bundle is believed, how old it is, when to ask again.

A pure state machine on Unix seconds. A bundle that was got is believed until another one comes: a
failure to refresh takes nothing away, it is told with the age of what stays.
"""

from __future__ import annotations

from certs.renewal import retry_delay_s
from certs.spiffe_bundle import SpiffeBundle
from controlplane.mesh.federation import ForeignDomain

DEFAULT_REFRESH_S = 300.0
"""Where the bundle gives no hint (SPIFFE Trust Domain and Bundle, 4.1.2)."""

SHORTEST_REFRESH_S = 10.0
LONGEST_REFRESH_S = 3600.0
LATE_AFTER = 3
"""A bundle is announced as late when it is so many refreshes old."""


class Followed:
    """`domain` may be replaced while it is followed. got_at 0: only what was configured is known.

    due_at: when to ask next, Unix seconds."""

    __slots__ = ("bundle", "domain", "due_at", "error", "failures", "got_at", "since")

    def __init__(self, domain: ForeignDomain, now: float) -> None:
        self.domain = domain
        self.bundle: SpiffeBundle | None = domain.first_bundle
        self.since = now
        self.got_at = 0.0
        self.due_at = now
        self.failures = 0
        self.error = ""

    def configured(self, domain: ForeignDomain, now: float) -> None:
        """Another endpoint or first bundle: ask at once; what was got stays believed meanwhile."""
        if domain == self.domain:
            return
        self.domain = domain
        if not domain.url:
            self.got_at, self.error = 0.0, ""
        if not self.got_at:
            self.bundle = domain.first_bundle
        self.due_at = now

    def remembered(self, bundle: SpiffeBundle, got_at: float) -> None:
        """What was on disk: newer than what is configured."""
        self.bundle, self.got_at = bundle, got_at

    def got(self, bundle: SpiffeBundle, now: float) -> bool:
        """A fresh bundle. True: its roots are not those that were believed."""
        changed = self.bundle is None or bundle.roots != self.bundle.roots
        self.bundle, self.got_at, self.error, self.failures = bundle, now, "", 0
        self.due_at = now + self.refresh_s
        return changed

    def failed(self, reason: str, now: float, jitter: float) -> None:
        self.failures += 1
        self.error = reason
        self.due_at = now + min(retry_delay_s(self.failures, jitter), self.refresh_s)

    @property
    def refresh_s(self) -> float:
        hint = self.bundle.refresh_hint_s if self.bundle is not None else None
        return min(max(hint or DEFAULT_REFRESH_S, SHORTEST_REFRESH_S), LONGEST_REFRESH_S)

    def age_s(self, now: float) -> float:
        """Since the bundle was got, or since we have been trying."""
        return now - (self.got_at or self.since)

    def is_late(self, now: float) -> bool:
        return bool(self.error) and self.age_s(now) > LATE_AFTER * self.refresh_s
