"""What is revoked, where all replicas have it: one value, changed by exchange.

Beside it the certificates of revoked identities, each told by the replica that has issued it, as
only its log knows their serial numbers. All is sealed, so that whoever may write to the store can
revoke nobody; and the newest is kept in STATE/revoked.sealed: where the store has an older one, or
none any more, it is put back.
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
from certs.files import read_secret, write_secret
from certs.issue_log import Issued
from controlplane.errors import StartError
from controlplane.sources.store.sealed import SealedValues, put_back
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
KEPT_FILE = "revoked.sealed"
AT_ONCE = 1000
ANSWER_WITHIN_S = 30.0
Payload = dict[str, Any]
Hear = Callable[[Payload, Mapping[str, Issued]], None]


class SharedRevocations:
    """Make it in the loop, before the store is opened. CertificateError: what was kept in the state
    directory can't be opened."""

    def __init__(self, store: SharedStore, sealed: SealedValues, state_dir: Path) -> None:
        self._store = store
        self._sealed = sealed
        self._path = state_dir / KEPT_FILE
        self._loop = asyncio.get_running_loop()
        self._there: bytes | None = None
        self._hearing = asyncio.Lock()
        self._value = self._heard = self._kept()
        self._refused = ""
        self._hear: Hear = lambda payload, seen: None
        self._on_change: Callable[[], None] = lambda: None
        self.certificates: dict[str, Issued] = {}
        store.listen(NAME, self._told)
        store.listen(CERTIFICATES, self._told_certificates)

    def _kept(self) -> bytes | None:
        """The newest that this replica has seen."""
        if not self._path.exists():
            return None
        value = read_secret(self._path)
        try:
            self._sealed.open(NAME, value)
        except CertificateError as error:
            raise CertificateError(
                f"{self._path} can't be opened: {error}; give the --state-passphrase-file that it "
                "was sealed with, or restore it from a backup"
            ) from None
        return value

    def follow(self, hear: Hear, on_change: Callable[[], None]) -> None:
        """hear: called in a thread with what counts now, and `certificates`; on_change: in the
        loop, after that."""
        self._hear = hear
        self._on_change = on_change

    def replace(self, payload: Payload) -> None:
        """From another thread. Raises StoreAway, and CertificateError if another replica was
        quicker."""
        commit = self._commit(payload, self._heard)
        asyncio.run_coroutine_threadsafe(commit, self._loop).result(ANSWER_WITHIN_S)

    async def take_over(self, path: Path) -> None:
        """What a replica had revoked before it shared, beside what the others have; all of it
        counts here then. Raises StoreAway, and CertificateError for the file."""
        if self._refused and self._value is None:
            raise StartError(
                f"the revocations in {self._store.place} can't be opened: {self._refused}; all "
                "replicas have the same passphrase (--state-passphrase-file); what an earlier Weft "
                f"has written, or somebody else, is to be deleted ({NAME}), and revoked anew"
            )
        theirs = self._payload()
        mine = await asyncio.to_thread(_read, path)
        known = {one["what"] for one in theirs["revoked"]}
        if new := [one for one in mine["revoked"] if one["what"] not in known]:
            theirs = {"revoked": [*theirs["revoked"], *new]}
            await self._commit(theirs, self._value)
        await self._pass_on()

    def tell(self, held: Mapping[str, Issued], seen: Mapping[str, Issued]) -> None:
        """From any thread. held: certificates of revoked identities that are not over, by serial
        number. seen: `certificates` when that was found; of these the others need not be known any
        more. Nothing is said of what another replica has told since."""
        there = dict(self.certificates)
        values: dict[str, bytes | None] = {
            CERTIFICATES + serial: self._seal(CERTIFICATES + serial, asdict(one))
            for serial, one in held.items()
            if serial not in there
        }
        values |= {CERTIFICATES + serial: None for serial in seen if serial not in held}
        if values:
            asyncio.run_coroutine_threadsafe(self._tell(list(values.items())), self._loop)

    async def _tell(self, values: list[tuple[str, bytes | None]]) -> None:
        try:
            for at in range(0, len(values), AT_ONCE):
                await self._store.commit(dict(values[at : at + AT_ONCE]))
        except StoreAway as error:
            log.error("certificates of revoked identities are not told: %s", error.reason)

    async def _commit(self, payload: Payload, made_of: bytes | None) -> None:
        """made_of: what counted when the payload was made."""
        value = self._seal(NAME, payload)
        try:
            if made_of != self._value:
                raise StoreConflict({NAME: self._value})
            await self._store.commit({NAME: value}, expected={NAME: self._there})
        except StoreConflict:
            raise CertificateError(
                "another replica has revoked something at the same time: try again"
            ) from None
        self._heard = value

    def _told(self, change: Change) -> None:
        if not change.whole and NAME not in change.values:
            return
        self._there = found = change.values.get(NAME)
        if found == self._value:
            return
        try:
            if found is None:
                raise CertificateError("it was deleted")
            self._sealed.open(NAME, found)
        except CertificateError as error:
            self._refused = str(error)
            log.error("the revocations in %s do not count: %s", self._store.place, error)
            if self._value is not None:
                again = put_back(self._store, NAME, self._value, found, log.error)
                spawn(again, "revocations that count")
            return
        self._value = found
        spawn(self._pass_on(), "revocations of another replica")

    def _told_certificates(self, change: Change) -> None:
        before = dict(self.certificates)
        if change.whole:
            self.certificates.clear()
        for name, value in change.values.items():
            serial = name.removeprefix(CERTIFICATES)
            if value is None:
                self.certificates.pop(serial, None)
                self._sealed.forget(name)
                continue
            try:
                self.certificates[serial] = Issued(**json.loads(self._sealed.open(name, value)))
            except CertificateError as error:
                log.error("%s in %s does not count: %s", name, self._store.place, error)
        if self.certificates.keys() - before.keys() and self._value:
            spawn(self._pass_on(), "certificates that another replica has issued")

    def _payload(self) -> Payload:
        """What counts."""
        if self._value is None:
            return {"revoked": []}
        found: Payload = json.loads(self._sealed.open(NAME, self._value))
        return found

    def _seal(self, name: str, value: Payload) -> bytes:
        return self._sealed.seal(name, json.dumps(value).encode())

    def _keep(self) -> None:
        """Blocks on the disk."""
        value = self._value
        if value is None:
            return
        try:
            write_secret(self._path, value)
        except OSError as error:
            log.error("%s cannot be written: %s", self._path, error.strerror)

    async def _pass_on(self) -> None:
        """What counts now, one after the other."""
        async with self._hearing:
            value, payload, seen = self._value, self._payload(), dict(self.certificates)
            try:
                await asyncio.to_thread(self._keep)
                await asyncio.to_thread(self._hear, payload, seen)
            except CertificateError as error:
                log.error("%s", error)
                return
            self._heard = value
        self._on_change()


def _read(path: Path) -> Payload:
    return read_checked(path) if path.exists() else {"revoked": []}
