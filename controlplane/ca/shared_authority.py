"""One authority, and one administrator's token, for all replicas: sealed in the store they share.

    shared = SharedAuthority(store, box, state_dir, passphrase)
    await shared.settle(make)          # before anybody reads the state directory
    shared.follow(live, on_change)     # before the store is opened

What is in the store counts. A replica that has nothing takes it; one that had it when it was older
takes what has become of it; one that has led it on (weft ca) tells the others; one of another
authority is refused. A step of a rotation is made in the store first (`step`), and then here: while
the store is away nobody takes one, and of two who do at the same time one is refused. Keys lie in
the store as they lie on the disk, encrypted by the passphrase, and all of it is sealed with the
passphrase again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from certs.errors import CertificateError
from certs.files import create_secret, read_secret, write_secret
from certs.issue_log import ISSUE_LOG
from certs.packing import is_newer, is_same, pack, take, unpack
from certs.rotation import State
from certs.sealed_box import SealedBox
from certs.store import (
    CA_FOLDER,
    StoredAuthority,
    load_state,
    locked,
    make_state_directory,
    read_store,
)
from controlplane.ca.admin_token import ADMIN_TOKEN, open_admin_token
from controlplane.ca.live import LiveAuthority
from controlplane.errors import StartError
from controlplane.sources.store.values import (
    Change,
    SharedStore,
    StoreAway,
    StoreConflict,
    Values,
)
from controlplane.tasks import spawn

log = logging.getLogger("weft.controlplane.ca")

NAME = "authority"
RETRY_S = 1.0
Files = Mapping[str, bytes]


class SharedAuthority:
    def __init__(
        self, store: SharedStore, box: SealedBox, state_dir: Path, passphrase: bytes
    ) -> None:
        self._store = store
        self._box = box
        self._state_dir = state_dir
        self._passphrase = passphrase
        self._files: Files = {}
        self._value: bytes | None = None
        self._live: LiveAuthority | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._lock = asyncio.Lock()

    # ------------------------------------------------------------------ at the start

    async def settle(self, make: Callable[[Path], object]) -> None:
        """Makes the state directory have what all have. make: makes an authority in a directory
        without one. Raises StoreError, CertificateError and StartError."""
        await asyncio.to_thread(make_state_directory, self._state_dir)
        found = (await self._store.read(NAME)).get(NAME)
        if found is None:
            found = await self._found(make)
        files = self._opened(found)
        newer = await asyncio.to_thread(self._compare, files)
        if newer:
            await self._publish_first(found)
        else:
            self._value, self._files = found, files

    async def _found(self, make: Callable[[Path], object]) -> bytes:
        """Puts there what is here, or is made now; what another replica was quicker with."""
        sealed = await asyncio.to_thread(self._first, make)
        try:
            await self._store.commit({NAME: sealed}, expected={NAME: None})
        except StoreConflict as conflict:
            return conflict.values[NAME] or sealed
        except StoreAway as error:
            raise StartError(error.reason) from None
        return sealed

    def _first(self, make: Callable[[Path], object]) -> bytes:
        """In a directory of its own: it may come to nothing."""
        if (self._state_dir / CA_FOLDER).exists():
            make(self._state_dir)
            return self._sealed(self._packed(self._state_dir))
        with tempfile.TemporaryDirectory(prefix=".first.", dir=self._state_dir) as scratch:
            make(Path(scratch))
            if (token := self._state_dir / ADMIN_TOKEN).exists():
                create_secret(Path(scratch) / ADMIN_TOKEN, read_secret(token))
            return self._sealed(self._packed(Path(scratch)))

    async def _publish_first(self, former: bytes) -> None:
        try:
            files = await asyncio.to_thread(self._packed, self._state_dir)
            await self._publish(files, former)
        except StoreConflict:
            raise StartError(
                f"another replica has changed the authority in {self._store.place} at the same "
                "time: start this one again"
            ) from None
        except StoreAway as error:
            raise StartError(error.reason) from None

    def _compare(self, files: Files) -> bool:
        """Whether ours is newer. What is older, or absent, is replaced. CertificateError: it is
        another authority."""
        if not (self._state_dir / CA_FOLDER).exists():
            self._take(files)
            return False
        mine, theirs = load_state(self._state_dir), self._state_of(files)
        if is_same(mine, theirs) or is_newer(theirs, mine):
            self._take(files)
            return False
        if is_newer(mine, theirs):
            return True
        raise self._another(mine, theirs)

    def _state_of(self, files: Files) -> State:
        with tempfile.TemporaryDirectory(prefix=".shared.", dir=self._state_dir) as scratch:
            unpack(_authority_of(files), Path(scratch))
            return load_state(Path(scratch))

    def _another(self, mine: State, theirs: State) -> CertificateError:
        return CertificateError(
            f"{self._state_dir / CA_FOLDER} has the authority {mine.issuing}, and the store "
            f"{self._store.place} that of other replicas, {theirs.issuing}: use another "
            "--state-dir, or another prefix of the store"
        )

    # ------------------------------------------------------------------ while it runs

    def follow(self, live: LiveAuthority, on_change: Callable[[], None]) -> None:
        """on_change: called after `live` has become another one by another replica's doing."""
        self._live = live
        self._on_change = on_change
        live.listen(lambda: _in_background(self._told_here()))
        self._store.listen(NAME, self._told_there)

    async def step(
        self, work: Callable[[Path], StoredAuthority], condition: Values | None = None
    ) -> StoredAuthority:
        """What has become of the authority when `work` was done in a state directory that is as
        ours, and all replicas have it. condition: what the store must have beside. The step is
        repeated if the answer is lost. Raises what `work` raises, StoreAway, and CertificateError
        if another replica was quicker."""
        async with self._lock:
            with tempfile.TemporaryDirectory(prefix=".step.", dir=self._state_dir) as place:
                files = await asyncio.to_thread(self._worked, Path(place), work)
                if files != self._files:
                    try:
                        await self._publish(files, self._value, condition or {})
                    except StoreConflict:
                        raise CertificateError(
                            "another replica has led the authority on at the same time: try again"
                        ) from None
            return await asyncio.to_thread(self._in_force, files)

    def _worked(self, place: Path, work: Callable[[Path], StoredAuthority]) -> Files:
        """The files after the work, which is done elsewhere, as it may come to nothing."""
        unpack(pack(self._state_dir), place)
        with locked(place):
            for issued in (self._state_dir / CA_FOLDER).glob(f"{ISSUE_LOG}*"):
                os.link(issued, place / CA_FOLDER / issued.name)
        work(place)
        token = read_secret(self._state_dir / ADMIN_TOKEN)
        return {**pack(place), ADMIN_TOKEN: token}

    def _in_force(self, files: Files) -> StoredAuthority:
        if files == self._packed(self._state_dir):
            with locked(self._state_dir, shared=True):
                return read_store(self._state_dir, self._passphrase)
        return self._take(files)

    async def _told_here(self) -> None:
        """A step was done here: tells the others, as soon as it can."""
        told = await self._is_told()
        while not told:
            await asyncio.sleep(RETRY_S)  # without the lock: others may have led it on
            told = await self._is_told()

    async def _is_told(self) -> bool:
        """True, too, if it is in vain."""
        async with self._lock:
            files = await asyncio.to_thread(self._packed, self._state_dir)
            if files == self._files:
                return True
            try:
                await self._publish(files, self._value)
            except StoreAway as error:
                log.error("the other replicas are not told of the authority: %s", error.reason)
                return False
            except StoreConflict as conflict:
                found = conflict.values.get(NAME)
                if found is None:
                    self._value = None
                    return False
                return not await self._weigh(found)
            return True

    def _told_there(self, change: Change) -> None:
        value = change.values.get(NAME)
        if value is not None and value != self._value:
            _in_background(self._adopt(value))

    async def _adopt(self, value: bytes) -> None:
        async with self._lock:
            if value == self._value or not await self._weigh(value):
                return
        await self._told_here()  # nothing, unless ours has become of it

    async def _weigh(self, value: bytes) -> bool:
        """Takes what the store has, unless ours has become of it. False: it can't be taken."""
        if self._live is None:
            return False
        try:
            files = self._opened(value)
            stored = await asyncio.to_thread(self._taken, files)
        except (CertificateError, OSError) as error:
            log.error("what another replica says of the authority is not taken: %s", error)
            return False
        self._value, self._files = value, files
        if stored is not None:
            log.warning("another replica has led the authority on: %s", stored.state.phase)
            self._live.swap(stored)
            self._on_change()
        return True

    def _taken(self, files: Files) -> StoredAuthority | None:
        """None: ours is the same, or has become of it. CertificateError: it is another one, maybe
        of another mesh that has the same passphrase."""
        if files == self._packed(self._state_dir):
            return None
        mine, theirs = load_state(self._state_dir), self._state_of(files)
        if is_newer(mine, theirs):
            return None
        if mine.issuing not in (theirs.issuing, theirs.other, *theirs.retired):
            raise self._another(mine, theirs)
        return self._take(files)

    async def _publish(
        self, files: Files, former: bytes | None, condition: Values | None = None
    ) -> None:
        """Raises StoreAway and StoreConflict."""
        sealed = await asyncio.to_thread(self._sealed, files)
        # First: we are told of it before this returns, and know it then.
        known, self._value, self._files = (self._value, self._files), sealed, files
        try:
            expected = {NAME: former, **(condition or {})}
            await self._store.commit({NAME: sealed}, expected=expected)
        except (StoreConflict, StoreAway):
            self._value, self._files = known
            raise

    # ------------------------------------------------------------------ forms

    def _packed(self, folder: Path) -> Files:
        token = open_admin_token(folder)
        return {**pack(folder), ADMIN_TOKEN: token.encode() + b"\n"}

    def _sealed(self, files: Files) -> bytes:
        values = {name: base64.b64encode(data).decode() for name, data in files.items()}
        return self._box.seal(json.dumps(values).encode(), NAME.encode())

    def _opened(self, value: bytes) -> Files:
        try:
            found = json.loads(self._box.open(value, NAME.encode()))
        except CertificateError as error:
            raise CertificateError(
                f"the authority in the store {self._store.place} can't be opened: {error}; all "
                "replicas have the same passphrase (--state-passphrase-file)"
            ) from None
        return {name: base64.b64decode(data) for name, data in found.items()}

    def _take(self, files: Files) -> StoredAuthority:
        with tempfile.TemporaryDirectory(prefix=".shared.", dir=self._state_dir) as scratch:
            unpack(_authority_of(files), Path(scratch))
            stored = take(self._state_dir, Path(scratch), self._passphrase)
        write_secret(self._state_dir / ADMIN_TOKEN, files[ADMIN_TOKEN])
        return stored


def _authority_of(files: Files) -> Files:
    return {name: data for name, data in files.items() if name != ADMIN_TOKEN}


def _in_background(work: Coroutine[object, object, None]) -> None:
    spawn(work, "authority of all replicas")
