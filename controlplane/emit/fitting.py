"""Which of users' patches can be in force together: those that would make a configuration
inconsistent are left out, the others stay.

It knows nothing of what is patched: `attempt` makes it with some of the patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from controlplane.mesh.model import Status
from controlplane.mesh.patches import EnvoyPatch
from protos.frozen import frozen

LEFT_OUT = "PatchLeftOut"
T = TypeVar("T")
Patches = tuple[EnvoyPatch, ...]


@frozen
class Attempt(Generic[T]):
    """What was made, or why it can't be in force: a sentence for each problem."""

    made: T | None = None
    problems: tuple[str, ...] = ()


@frozen
class LeftOut:
    """A patch, and what it would break."""

    patch: EnvoyPatch
    why: str


@frozen
class Fitted(Generic[T]):
    """attempt: with the patches that stayed; it has problems where even none at all would be too
    many, and then nobody is blamed."""

    attempt: Attempt[T]
    left_out: tuple[LeftOut, ...] = ()


def told(patch: EnvoyPatch, why: str, who: str) -> Status:
    """That it is left out. who: the proxies that do without it."""
    message = (
        f"{patch.path} is left out for {who}: with it, {why}. Correct the patch, or add what it "
        "names; all else of these proxies goes on changing"
    )
    return Status(patch.position, "error", LEFT_OUT, patch.object, message)


def fitted(patches: Patches, attempt: Callable[[Patches], Attempt[T]]) -> Fitted[T]:
    """One attempt where all fit. Otherwise an earlier patch comes before a later one, unless it
    fits only beside it."""
    found = attempt(patches)
    if not found.problems or not patches:
        return Fitted(found)
    if (bare := attempt(())).problems:
        return Fitted(bare)
    return _Search(patches, attempt).run(bare)


class _Search(Generic[T]):
    """By halves, so that one bad patch among many costs a few attempts. Patches are known by their
    places, as two may be equal."""

    def __init__(self, patches: Patches, attempt: Callable[[Patches], Attempt[T]]) -> None:
        self._patches = patches
        self._attempt = attempt
        self._why: dict[int, tuple[str, ...]] = {}

    def run(self, bare: Attempt[T]) -> Fitted[T]:
        kept: frozenset[int] = frozenset()
        found, rest = bare, list(range(len(self._patches)))
        while rest:
            before = kept
            kept, found = self._add(kept, found, rest)
            rest = [place for place in rest if place not in kept]
            if kept == before:
                break
        left_out = (LeftOut(self._patches[at], "; ".join(self._why[at])) for at in rest)
        return Fitted(found, tuple(left_out))

    def _add(
        self, kept: frozenset[int], found: Attempt[T], group: Sequence[int]
    ) -> tuple[frozenset[int], Attempt[T]]:
        """Those of the group that fit, added to what is kept."""
        together = kept.union(group)
        tried = self._attempt(tuple(self._patches[place] for place in sorted(together)))
        if not tried.problems:
            return together, tried
        if len(group) == 1:
            self._why[group[0]] = tried.problems
            return kept, found
        half = len(group) // 2
        kept, found = self._add(kept, found, group[:half])
        return self._add(kept, found, group[half:])
