"""With whom an authority is rotated: nobody, or other replicas (together.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from certs.store import StoredAuthority
from controlplane.rotation.progress import Need, Progress, ProxyProgress
from controlplane.tasks import spawn

Work = Callable[[Path], StoredAuthority]
"""Something that is done to the authority of a state directory; it blocks on the disk."""


class Company(Protocol):
    @property
    def problem(self) -> str:
        """Why nobody can take a step now; '' if it can be."""
        ...

    @property
    def count(self) -> int:
        """How many proxies are connected."""
        ...

    def of(self, need: Need) -> Iterable[ProxyProgress]:
        """Every proxy that counts."""
        ...

    async def excuse(self, names: frozenset[str]) -> None:
        """Ids of nodes that nobody waits for, in this rotation. Raises OSError."""
        ...

    async def leads(self) -> bool:
        """Whether it is our turn to take the steps that follow by themselves."""
        ...

    async def rests(self) -> None:
        """There is nothing more to lead."""
        ...

    async def step(self, work: Work, *, alone: bool = True) -> StoredAuthority:
        """Does it. alone: also if we do not lead, as somebody has asked us. CertificateError,
        OSError: nothing was done."""
        ...


class Alone:
    """One control plane: what is on its disk counts."""

    problem = ""

    def __init__(self, state_dir: Path, progress: Progress) -> None:
        self._state_dir = state_dir
        self._progress = progress
        self._without: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        return self._progress.count

    def of(self, need: Need) -> Iterable[ProxyProgress]:
        return self._progress.of(need, self._without)

    async def excuse(self, names: frozenset[str]) -> None:
        self._without = names

    async def leads(self) -> bool:
        return True

    async def rests(self) -> None:
        """Nobody else waits for our place."""

    async def step(self, work: Work, *, alone: bool = True) -> StoredAuthority:
        # Shielded: a step that is being written must not be forgotten.
        writing = asyncio.to_thread(work, self._state_dir)
        return await asyncio.shield(spawn(writing, "step of a rotation"))
