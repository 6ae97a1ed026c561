"""What is revoked, where all replicas have it: one value, changed by exchange.

Beside it the certificates of revoked identities, each told by the replica that has issued it, as
only its log knows their serial numbers.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from certs.checked_file import read_checked
from certs.errors import CertificateError
from certs.issue_log import Issued
from controlplane.sources.store.values import (
    Change,
    SharedStore,
    StoreAway,
    StoreConflict,
)
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.ca")

NAME = "revoked"
CERTIFICATES = "certificates-of-revoked/"
AT_ONCE = 1000
ANSWER_WITHIN_S = 30.0
Payload = dict[str, Any]


class SharedRevocations:
    """Make it in the loop, before the store is opened."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._value: bytes | None = None
        self._hear: Callable[[Payload], None] = lambda payload: None
        self._on_change: Callable[[], None] = lambda: None
        self.certificates: dict[str, Issued] = {}
        store.listen(NAME, self._told)
        store.listen(CERTIFICATES, self._told_certificates)

    def follow(self, hear: Callable[[Payload], None], on_change: Callable[[], None]) -> None:
        """hear: called in a thread with what counts now; on_change: in the loop, after that."""
        self._hear = hear
        self._on_change = on_change

    def replace(self, payload: Payload) -> None:
        """From another thread. Raises StoreAway, and CertificateError if another replica was
        quicker."""
        commit = self._commit(payload)
        asyncio.run_coroutine_threadsafe(commit, self._loop).result(ANSWER_WITHIN_S)

    async def take_over(self, path: Path) -> None:
        """What a replica had revoked before it shared, beside what the others have; all of it
        counts here then. Raises StoreAway, and CertificateError for the file."""
        theirs = json.loads(self._value) if self._value else {"revoked": []}
        mine = await asyncio.to_thread(_read, path)
        known = {one["what"] for one in theirs["revoked"]}
        if new := [one for one in mine["revoked"] if one["what"] not in known]:
            theirs = {"revoked": [*theirs["revoked"], *new]}
            await self._commit(theirs)
        await self._pass_on(theirs)

    def tell(self, held: Mapping[str, Issued]) -> None:
        """From any thread. held: certificates of revoked identities that are not over, by serial
        number; others need not be known any more."""
        there = dict(self.certificates)
        values: dict[str, bytes | None] = {
            CERTIFICATES + serial: json.dumps(asdict(one)).encode()
            for serial, one in held.items()
            if serial not in there
        }
        values |= {CERTIFICATES + serial: None for serial in there if serial not in held}
        if values:
            asyncio.run_coroutine_threadsafe(self._tell(list(values.items())), self._loop)

    async def _tell(self, values: list[tuple[str, bytes | None]]) -> None:
        try:
            for at in range(0, len(values), AT_ONCE):
                await self._store.commit(dict(values[at : at + AT_ONCE]))
        except StoreAway as error:
            log.error("certificates of revoked identities are not told: %s", error.reason)

    async def _commit(self, payload: Payload) -> None:
        value = json.dumps(payload).encode()
        try:
            await self._store.commit({NAME: value}, expected={NAME: self._value})
        except StoreConflict:
            raise CertificateError(
                "another replica has revoked something at the same time: try again"
            ) from None

    def _told(self, change: Change) -> None:
        value = change.values.get(NAME)
        if (change.whole or NAME in change.values) and value != self._value:
            self._value = value
            payload = json.loads(value) if value else {"revoked": []}
            spawn(self._pass_on(payload), "revocations of another replica")

    def _told_certificates(self, change: Change) -> None:
        before = dict(self.certificates)
        if change.whole:
            self.certificates.clear()
        for name, value in change.values.items():
            serial = name.removeprefix(CERTIFICATES)
            if value is None:
                self.certificates.pop(serial, None)
            else:
                self.certificates[serial] = Issued(**json.loads(value))
        if self.certificates.keys() - before.keys() and self._value:
            payload = json.loads(self._value)
            spawn(self._pass_on(payload), "certificates that another replica has issued")

    async def _pass_on(self, payload: Payload) -> None:
        try:
            await asyncio.to_thread(self._hear, payload)
        except CertificateError as error:
            log.error("%s", error)
            return
        self._on_change()


def _read(path: Path) -> Payload:
    return read_checked(path) if path.exists() else {"revoked": []}
