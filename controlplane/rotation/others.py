"""What the other replicas say of their proxies, as the store tells it.

    members/REPLICA/PART     the proxies that it knows; stays when the replica goes
    reports/REPLICA          who of them is not ready for the next step; ends with the replica
    replicas/REPLICA         that it is there; ends with the replica

A replica that is gone may still serve, cut off from the store, with what was in force before. So
its proxies count until they have come to another replica, or have nothing to serve with any more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterator

from certs.errors import CertificateError
from controlplane.rotation.progress import EVERYBODY_AWAY, ProxyProgress, State
from controlplane.rotation.roster import ProxyKey
from controlplane.rotation.words import (
    Member,
    Report,
    members_of,
    report_from_bytes,
)
from controlplane.sources.store.sealed import SealedValues
from controlplane.sources.store.values import Change, SharedStore

log = logging.getLogger("weft.controlplane.rotation")

MEMBERS = "members/"
REPORTS = "reports/"
HERE = "replicas/"


class Others:
    """Make it before the store is opened. me: our own id, whose members are in `there` only."""

    def __init__(self, store: SharedStore, sealed: SealedValues, me: str) -> None:
        self._sealed = sealed
        self._me = me
        self._addresses: dict[str, str] = {}
        self._parts: dict[str, dict[str, tuple[Member, ...]]] = {}
        self._reports: dict[str, Report] = {}
        self._connected: set[ProxyKey] | None = None
        self.values: dict[str, bytes] = {}
        """All that is in the store below MEMBERS, ours too."""
        store.listen(MEMBERS, self._told_members)
        store.listen(REPORTS, self._told_reports)
        store.listen(HERE, self._told_here)

    def here(self) -> dict[str, str]:
        """The replicas that are there beside us: their addresses by their ids."""
        return dict(self._addresses)

    def connected(self) -> set[ProxyKey]:
        """The proxies of replicas that are there. Not to be changed."""
        if self._connected is None:
            self._connected = {
                one.key
                for replica in self._addresses
                for one in self._members(replica)
                if one.connected
            }
        return self._connected

    def progress(self, at: str, without: Container[str]) -> Iterator[ProxyProgress]:
        """Of the proxies of replicas that are there; `at` what step they should be, '' if none."""
        for replica, address in sorted(self._addresses.items()):
            report = self._reports.get(replica) if at else Report("")
            if report is None or report.at != at:
                skipped = f"replica {address}" in without
                why = "has not said yet that it has taken this step, too"
                state: State = "skipped" if skipped else "waiting"
                yield ProxyProgress(f"replica {address}", "", state, why)
                continue
            lacking = {(one.node_id, one.identity) for one in report.lacking}
            for one in self._members(replica):
                if one.connected and one.key not in lacking:
                    yield ProxyProgress(one.node_id, one.identity, "done")
            yield from report.lacking
            if report.more:
                why = f"{report.more} more of its proxies are not ready"
                yield ProxyProgress(f"replica {address}", "", "waiting", why)

    def gone(
        self, here: Container[ProxyKey], without: Container[str], now: float
    ) -> Iterator[ProxyProgress]:
        """The proxies of replicas that are gone, but for those that are `here`."""
        for replica in self._parts.keys() - self._addresses.keys() - {self._me}:
            for one in self._members(replica):
                if one.until > now and one.key not in here:
                    skipped = EVERYBODY_AWAY in without or one.node_id in without
                    state: State = "skipped" if skipped else "away"
                    why = "is not connected; its replica is gone, and may still serve it"
                    yield ProxyProgress(one.node_id, one.identity, state, why)

    def idle(self, here: Container[ProxyKey], now: float) -> tuple[str, ...]:
        """What is in the store of replicas that are gone, and says nothing that counts."""
        return tuple(
            name
            for replica in self._parts.keys() - self._addresses.keys() - {self._me}
            for name, part in self._parts[replica].items()
            if all(one.until <= now or one.key in here for one in part)
        )

    def _members(self, replica: str) -> Iterator[Member]:
        for part in self._parts.get(replica, {}).values():
            yield from part

    # ------------------------------------------------------------------ what the store tells

    def _told_members(self, change: Change) -> None:
        self._connected = None
        if change.whole:
            self._parts.clear()
            self.values.clear()
        for name, value in change.values.items():
            replica = name.removeprefix(MEMBERS).partition("/")[0]
            parts = self._parts.setdefault(replica, {})
            parts.pop(name, None)
            self.values.pop(name, None)
            if value is not None:
                self.values[name] = value
                parts[name] = self._read(name, value)
            if not parts:
                del self._parts[replica]

    def _told_reports(self, change: Change) -> None:
        if change.whole:
            self._reports.clear()
        for name, value in change.values.items():
            replica = name.removeprefix(REPORTS)
            self._reports.pop(replica, None)
            if value is None or replica == self._me:
                continue
            try:
                self._reports[replica] = report_from_bytes(self._sealed.open(name, value))
            except CertificateError as error:
                log.error("%s does not count: %s", name, error)

    def _told_here(self, change: Change) -> None:
        self._connected = None
        if change.whole:
            self._addresses.clear()
        for name, value in change.values.items():
            replica = name.removeprefix(HERE)
            self._addresses.pop(replica, None)
            if value is not None and replica != self._me:
                self._addresses[replica] = _address(value)

    def _read(self, name: str, value: bytes) -> tuple[Member, ...]:
        try:
            return members_of(self._sealed.open(name, value))
        except CertificateError as error:
            log.error("%s does not count: %s", name, error)
            return ()


def _address(value: bytes) -> str:
    try:
        return str(json.loads(value)["address"])
    except (ValueError, KeyError, TypeError):
        return "?"
