"""What a store is: names with values, changed all at once, and told to whoever listens.

    store.listen("objects/", on_change)       # before it is opened
    await store.open()                        # on_change(Change(revision, ..., whole=True))
    await store.commit({"objects/a": b"...", "objects/b": None})
    # on_change was called before commit returns

Changes are told in one order, the same for every replica. Knows nothing of what the values mean.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from controlplane.errors import StartError
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.store")

Values = Mapping[str, bytes | None]
"""None: the name is not there (any more)."""


@frozen
class Change:
    """All of one commit. whole: what is not in `values` is not there."""

    values: Values
    whole: bool = False


Listener = Callable[[Change], None]


class StoreError(StartError):
    """The store can not be used at all; the message says what to do."""


class StoreAway(OSError):
    """It can not be written now: nothing was changed. `reason`, which is also `strerror`, is for
    the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EHOSTUNREACH, reason)
        self.reason = reason


class TooMuch(StoreAway):
    """More than the store takes at once; nothing was changed."""


class StoreConflict(Exception):
    """A name has another value than was expected. values: those that it has."""

    def __init__(self, values: Values) -> None:
        super().__init__(f"changed meanwhile: {', '.join(sorted(values))}")
        self.values = values


class Store(Protocol):
    @property
    def place(self) -> str:
        """As the user has named it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other replicas use it too, and what is transient ends by itself."""
        ...

    @property
    def away(self) -> str:
        """Why it does not answer now; '' if it does."""
        ...

    def listen(self, prefix: str, listener: Listener) -> None: ...

    async def open(self) -> None:
        """Raises StoreError."""
        ...

    async def commit(self, values: Values, transient: Collection[str] = ()) -> None:
        """All or nothing. transient: names that end with this process. Raises StoreAway."""
        ...

    async def close(self) -> None: ...


class Listeners:
    """Who hears of which names."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[tuple[str, Listener]] = []

    def add(self, prefix: str, listener: Listener) -> None:
        self._all.append((prefix, listener))

    def tell(self, change: Change) -> None:
        for prefix, listener in self._all:
            mine = {name: one for name, one in change.values.items() if name.startswith(prefix)}
            if mine or change.whole:
                try:
                    listener(Change(mine, change.whole))
                except Exception:  # one value that nobody expects must not hold up all others
                    log.exception("a change of %s is not taken", ", ".join(mine) or prefix)


class SharedStore(Store, Protocol):
    """One that other replicas use, too."""

    async def read(self, prefix: str) -> dict[str, bytes]:
        """What there is now; before it is opened, too. Raises StoreError."""
        ...

    async def commit(
        self, values: Values, transient: Collection[str] = (), expected: Values | None = None
    ) -> None:
        """expected: what must be there; raises StoreConflict if it is not."""
        ...
