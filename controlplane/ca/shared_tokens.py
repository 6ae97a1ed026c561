"""Join tokens where all replicas have them, each under the digest of its secret.

A token is spent by an exchange: of two replicas that are shown it at the same time one comes
second, and is told what the first has made of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from controlplane.ca.token_file import TokenRecord, read_tokens, token_from_json, token_to_json
from controlplane.sources.store.values import Change, SharedStore, StoreConflict

log = logging.getLogger("weft.controlplane.ca")

PREFIX = "join-tokens/"
ANSWER_WITHIN_S = 30.0
AT_ONCE = 50


class SharedTokens:
    """Make it in the loop, before the store is opened. `records` follows what the store has."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
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
        over = [key for key in self.records if key not in records][:AT_ONCE]
        values: dict[str, bytes | None] = {PREFIX + key: None for key in over}
        name = PREFIX + changed.sha256
        values[name] = token_to_json(changed)
        expected = {name: None if former is None else token_to_json(former)}
        commit = self._store.commit(values, expected=expected)
        try:
            asyncio.run_coroutine_threadsafe(commit, self._loop).result(ANSWER_WITHIN_S)
        except StoreConflict as conflict:
            found = conflict.values.get(name)
            return token_from_json(found) if found else former or changed
        return changed

    async def take_over(self, path: Path) -> None:
        """What a replica had before it shared. Raises StoreAway, CertificateError for the file."""
        for one in await asyncio.to_thread(read_tokens, path):
            name = PREFIX + one.sha256
            try:
                await self._store.commit({name: token_to_json(one)}, expected={name: None})
            except StoreConflict:
                continue  # it has come there already, and may be spent

    def _told(self, change: Change) -> None:
        if change.whole:
            for name in self.records.keys() - {one[len(PREFIX) :] for one in change.values}:
                del self.records[name]
        for name, value in change.values.items():
            key = name.removeprefix(PREFIX)
            if value is None:
                self.records.pop(key, None)
                continue
            try:
                self.records[key] = token_from_json(value)
            except ValueError as error:
                log.error("%s: %s is no join token: %s", self._store.place, key, error)
