"""What of users' words is not in force although translation took it, for the status of the
objects: patches that were left out, and nodes that keep what they had."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from controlplane.emit.fitting import LeftOut, told
from controlplane.emit.node import Node
from controlplane.mesh.model import NOWHERE, Position, Status
from controlplane.mesh.patches import EnvoyPatch
from protos.frozen import frozen

FROZEN = "ConfigurationKept"
MAX_NAMED = 5
"""Nodes that one message names."""
MAX_TOLD = 20
"""Patches that are told of one node."""


@frozen
class Trouble:
    """Of one node, or of all who share it. frozen: why nothing new could be made; '' if it was.
    object, position: of what could not be made, as in a Status."""

    who: str
    left_out: tuple[LeftOut, ...] = ()
    frozen: str = ""
    object: str = ""
    position: Position = NOWHERE

    def __bool__(self) -> bool:
        return bool(self.left_out or self.frozen)

    def __str__(self) -> str:
        """For the log."""
        said = [
            f"{one.patch.object} {one.patch.path} is left out: {one.why}" for one in self.left_out
        ]
        said += [f"it stays as it was: {self.frozen}"] if self.frozen else []
        return f"configuration of {self.who or 'any sidecar'}: {'; '.join(said)}"


def left_out(found: Iterable[Trouble]) -> tuple[str, ...]:
    """In words, each patch once however many things it would break; the first MAX_TOLD."""
    why: dict[EnvoyPatch, str] = {}
    for trouble in found:
        for one in trouble.left_out:
            why.setdefault(one.patch, one.why)
    in_words = (f"{patch.object} {patch.path}: {reason}" for patch, reason in why.items())
    return tuple(islice(in_words, MAX_TOLD))


def name_of(node: Node) -> str:
    """By which people know it."""
    return f"{node.namespace}/{node.workload}" if node.workload else node.id


def statuses(troubles: Iterable[Trouble], patches: Iterable[EnvoyPatch]) -> tuple[Status, ...]:
    """patches: those of the present mesh; others are blamed no more."""
    found = tuple(dict.fromkeys(one for one in troubles if one))
    blamed: dict[EnvoyPatch, dict[str, list[str]]] = {}
    for trouble in found:
        for left in trouble.left_out:
            blamed.setdefault(left.patch, {}).setdefault(left.why, []).append(trouble.who)
    return (
        *(
            told(one, why, named(who))
            for one in patches
            for why, who in blamed.get(one, {}).items()
        ),
        *(_frozen(trouble) for trouble in found if trouble.frozen),
    )


def _frozen(trouble: Trouble) -> Status:
    message = (
        f"what it comes to stays as it was for {trouble.who}: {trouble.frozen}. No patch is to "
        "blame: undo the last change that concerns it, and see the log of the control plane"
    )
    return Status(trouble.position, "error", FROZEN, trouble.object, message)


def named(who: Iterable[str]) -> str:
    """The first ones, and how many more."""
    found = sorted(set(who))
    more = len(found) - MAX_NAMED
    return ", ".join(found[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
