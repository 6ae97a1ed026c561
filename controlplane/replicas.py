"""Who else serves: each replica says in the store that it is there, for as long as it is.

Also what all of them have: the authority, join tokens, revocations. How they rotate the authority
together is controlplane.rotation.together.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from certs.sealed_box import SealedBox
from controlplane.ca.revocations import REVOKED_FILE
from controlplane.ca.shared_authority import SharedAuthority
from controlplane.ca.shared_revocations import SharedRevocations
from controlplane.ca.shared_tokens import SharedTokens
from controlplane.errors import StartError
from controlplane.sources.store.former import MIGRATED
from controlplane.sources.store.sealed import SealedValues
from controlplane.sources.store.values import Change, SharedStore, StoreAway
from protos.frozen import frozen

PREFIX = "replicas/"
TOKENS_FILE = "join-tokens.json"


@frozen
class Here:
    """address: of its gRPC port with tokens."""

    host: str
    pid: int
    address: str

    def __str__(self) -> str:
        return f"{self.address} (pid {self.pid} on {self.host})"


class Replicas:
    """Make it before the store is opened; then `settle`, and `announce` when it serves."""

    def __init__(self, store: SharedStore, state_dir: Path, passphrase: bytes) -> None:
        self._store = store
        self._state_dir = state_dir
        me = f"{socket.gethostname()}:{state_dir.absolute()}"
        self.id = hashlib.sha256(me.encode()).hexdigest()[:16]
        self._name = PREFIX + self.id
        self._others: dict[str, Here] = {}
        box = SealedBox(passphrase)
        self.store = store
        self.sealed = SealedValues(box)
        self.authority = SharedAuthority(store, box, state_dir, passphrase)
        self.tokens = SharedTokens(store, self.sealed)
        self.revocations = SharedRevocations(store, self.sealed, state_dir)
        store.listen(PREFIX, self._told)

    @property
    def others(self) -> tuple[Here, ...]:
        """Those that are there beside us."""
        return tuple(self._others[name] for name in sorted(self._others))

    async def settle(self, make: Callable[[Path], object]) -> None:
        """Before anybody reads the state directory: as `SharedAuthority.settle`."""
        await self.authority.settle(make)

    async def take_over(self) -> None:
        """What this one had before it shared anything, once. Raises StartError."""
        tokens, revoked = self._state_dir / TOKENS_FILE, self._state_dir / REVOKED_FILE
        try:
            await self.tokens.take_over(tokens)
            await self.revocations.take_over(revoked)
        except StoreAway as error:
            raise StartError(error.reason) from None
        for path in (tokens, revoked):
            if path.exists():
                os.replace(path, path.with_name(path.name + MIGRATED))

    async def announce(self, address: str) -> None:
        """Says that it serves, or, first, that it is about to. Raises StartError."""
        value = {"host": socket.gethostname(), "pid": os.getpid(), "address": address}
        try:
            await self._store.commit({self._name: json.dumps(value).encode()}, {self._name})
        except StoreAway as error:
            raise StartError(error.reason) from None

    def _told(self, change: Change) -> None:
        if change.whole:
            self._others.clear()
        for name, value in change.values.items():
            self._others.pop(name, None)
            if value is not None and name != self._name:
                self._others[name] = _here(value)


def _here(value: bytes) -> Here:
    try:
        found = json.loads(value)
        return Here(str(found["host"]), int(found["pid"]), str(found["address"]))
    except (ValueError, KeyError, TypeError):
        return Here("?", 0, "?")
