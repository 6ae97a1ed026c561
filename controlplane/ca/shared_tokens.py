"""Join tokens where all replicas have them, each under the digest of its secret.

A token is spent by an exchange: of two replicas that are shown it at the same time one comes
second, and is told what the first has made of it. Each is sealed: whoever could write one would
choose who he is, and one that is put back as it was before it was spent is written anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from certs.errors import CertificateError
from controlplane.ca.token_file import TokenRecord, read_tokens, token_from_json, token_to_json
from controlplane.sources.store.sealed import Older, SealedValues, put_back
from controlplane.sources.store.values import Change, SharedStore, StoreConflict
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.ca")

PREFIX = "join-tokens/"
ANSWER_WITHIN_S = 30.0
AT_ONCE = 50


class SharedTokens:
    """Make it in the loop, before the store is opened. `records` follows what the store has."""

    def __init__(self, store: SharedStore, sealed: SealedValues) -> None:
        self._store = store
        self._box = sealed
        self._sealed: dict[str, tuple[TokenRecord, bytes]] = {}
        self._loop = asyncio.get_running_loop()
        self.records: dict[str, TokenRecord] = {}
        store.listen(PREFIX, self._told)

    def replace(
        self,
        records: Mapping[str, TokenRecord],
        changed: TokenRecord,
        former: TokenRecord | None,
    ) -> TokenRecord:
        """From another thread. records: that stay. The one that counts now. Raises StoreAway."""
        over = [key for key in tuple(self.records) if key not in records][:AT_ONCE]
        values: dict[str, bytes | None] = {PREFIX + key: None for key in over}
        name = PREFIX + changed.sha256
        values[name] = self._seal(changed)
        expected: dict[str, bytes | None] = {name: None}
        if former is not None:
            known = self._sealed.get(changed.sha256)
            if known is None or known[0] != former:
                return former if known is None else known[0]  # somebody was quicker
            expected[name] = known[1]
        commit = self._store.commit(values, expected=expected)
        try:
            asyncio.run_coroutine_threadsafe(commit, self._loop).result(ANSWER_WITHIN_S)
        except StoreConflict as conflict:
            return self._counts(changed.sha256, conflict.values.get(name)) or former or changed
        return changed

    def remove(self, record: TokenRecord) -> None:
        """From another thread. Raises StoreAway."""
        commit = self._store.commit({PREFIX + record.sha256: None})
        asyncio.run_coroutine_threadsafe(commit, self._loop).result(ANSWER_WITHIN_S)

    def _counts(self, key: str, found: bytes | None) -> TokenRecord | None:
        """What the store has, unless that was put back."""
        try:
            return self._open(key, found) if found else None
        except Older:
            known = self._sealed.get(key)
            return known[0] if known is not None else None

    async def take_over(self, path: Path) -> None:
        """What a replica had before it shared. Raises StoreAway, CertificateError for the file."""
        for one in await asyncio.to_thread(read_tokens, path):
            name = PREFIX + one.sha256
            try:
                await self._store.commit({name: self._seal(one)}, expected={name: None})
            except StoreConflict:
                continue  # it has come there already, and may be spent

    def _told(self, change: Change) -> None:
        if change.whole:
            for name in self.records.keys() - {one[len(PREFIX) :] for one in change.values}:
                self._forget(name)
        for name, value in change.values.items():
            key = name.removeprefix(PREFIX)
            if value is None:
                self._forget(key)
                continue
            try:
                record = self._open(key, value)
            except Older:
                self._keep(key, value)
            except ValueError as error:
                self._forget(key)
                log.error("%s: %s is no join token: %s", self._store.place, key, error)
            else:
                self._sealed[key] = record, value
                self.records[key] = record

    def _keep(self, key: str, found: bytes) -> None:
        """An older one was put in the place of ours."""
        name = PREFIX + key
        log.error("%s: %s was put back as it was before", self._store.place, name)
        if (ours := self._sealed.get(key)) is not None:
            spawn(put_back(self._store, name, ours[1], found, log.error), "a token that is spent")

    def _forget(self, key: str) -> None:
        self.records.pop(key, None)
        self._sealed.pop(key, None)

    def _seal(self, record: TokenRecord) -> bytes:
        return self._box.seal(PREFIX + record.sha256, token_to_json(record))

    def _open(self, key: str, value: bytes) -> TokenRecord:
        """Raises ValueError, and Older."""
        try:
            return token_from_json(self._box.open(PREFIX + key, value))
        except Older:
            raise
        except CertificateError as error:
            raise ValueError(str(error)) from None
