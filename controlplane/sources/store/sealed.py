"""Values that nobody can make who may only write to the store, nor put back when they are old.

    value = sealed.seal("revoked", b"...")     # sealed with its name and a number
    sealed.open("revoked", value)              # Older: a later one was opened before

Each value of a name has a number that grows with each sealing, and is a time where none is known;
whoever has seen one takes no smaller one for it. What must be known after a restart, too, whoever
uses it keeps (a sealed value is safe in a file), and opens first. Knows nothing of what the values
mean.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from certs.errors import CertificateError
from certs.sealed_box import SealedBox
from controlplane.sources.store.values import SharedStore, StoreAway, StoreConflict

log = logging.getLogger("weft.controlplane.store")

_NUMBER_BYTES = 8


class Older(CertificateError):
    """It was sealed by us, before another one that counts."""


class SealedValues:
    """All of one passphrase; from any thread."""

    __slots__ = ("_box", "_clock", "_newest")

    def __init__(self, box: SealedBox, clock: Callable[[], float] = time.time) -> None:
        self._box = box
        self._clock = clock
        self._newest: dict[str, int] = {}

    def seal(self, name: str, data: bytes) -> bytes:
        """Later than all that were opened under this name."""
        number = max(self._newest.get(name, 0) + 1, int(self._clock() * 1000))
        return self._box.seal(number.to_bytes(_NUMBER_BYTES, "big") + data, name.encode())

    def open(self, name: str, value: bytes) -> bytes:
        """CertificateError: it is none of ours, or Older."""
        opened = self._box.open(value, name.encode())
        number = int.from_bytes(opened[:_NUMBER_BYTES], "big")
        if number < self._newest.get(name, 0):
            raise Older("it is an older one, which somebody has put back")
        self._newest[name] = number
        return opened[_NUMBER_BYTES:]

    def forget(self, name: str) -> None:
        """It is gone, and its number need not be known any more."""
        self._newest.pop(name, None)


async def put_back(
    store: SharedStore, name: str, ours: bytes, found: bytes | None, say: Callable[[str], None]
) -> None:
    """Writes what counts over what was found there instead. say: hears why it can't be done."""
    try:
        await store.commit({name: ours}, expected={name: found})
    except StoreConflict:
        log.info("%s was put back by another replica", name)
    except StoreAway as error:
        say(error.reason)
