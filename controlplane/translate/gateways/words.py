"""Statuses of Gateway API in few words: makers of conditions, and what stands for a fault."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.mesh.conditions import Condition


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is not as it was asked for: a reason of the specification, and a sentence."""

    reason: str
    message: str


def good(kind: str, reason: str = "", message: str = "") -> Condition:
    """A condition that holds; its reason is mostly its own name."""
    return Condition(kind, "True", reason or kind, message)


def bad(kind: str, fault: Fault) -> Condition:
    return Condition(kind, "False", fault.reason, fault.message)


def judged(kind: str, fault: Fault | None) -> Condition:
    """Good, unless there is a fault."""
    return good(kind) if fault is None else bad(kind, fault)
