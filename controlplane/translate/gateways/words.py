"""Statuses of Gateway API in few words: makers of conditions, and what stands for a fault."""

from __future__ import annotations

from controlplane.mesh.conditions import Condition
from controlplane.mesh.position import Position
from protos.frozen import frozen


@frozen
class Fault:
    """Why something is not as it was asked for: a reason of the specification, and a sentence;
    where, if that is not the whole object."""

    reason: str
    message: str
    position: Position | None = None


def good(kind: str, reason: str = "", message: str = "") -> Condition:
    """A condition that holds; its reason is mostly its own name."""
    return Condition(kind, "True", reason or kind, message)


def bad(kind: str, fault: Fault) -> Condition:
    return Condition(kind, "False", fault.reason, fault.message)


def partly(fault: Fault) -> Condition:
    """Of a route that is in force without some of its rules (Gateway API's words)."""
    return Condition("PartiallyInvalid", "True", fault.reason, f"Dropped Rule: {fault.message}")


def judged(kind: str, fault: Fault | None) -> Condition:
    """Good, unless there is a fault."""
    return good(kind) if fault is None else bad(kind, fault)
