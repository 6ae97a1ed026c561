"""How the kinds of Gateway API refer to other objects, and what routes have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from controlplane.kinds.decoders import PORT, enum, integer
from controlplane.kinds.gateway_api.words import (
    API_GROUP,
    API_KIND,
    GROUP,
    NAMESPACE,
    OBJECT_NAME,
    SECTION,
    items,
)
from controlplane.kinds.schema import Record, obj, optional, record, required

MAX_WEIGHT = 1_000_000
SCOPE = enum("All", "None")
Scope = Literal["", "All", "None"]


class Referring(Protocol):
    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...


@record
class LocalReference(Record):
    """An object of the same namespace (LocalObjectReference)."""

    group: str = required(API_GROUP)
    kind: str = required(API_KIND)
    name: str = required(OBJECT_NAME)


@record
class ObjectReference(Record):
    group: str = required(API_GROUP)
    kind: str = required(API_KIND)
    name: str = required(OBJECT_NAME)
    namespace: str = optional(NAMESPACE, "")


@record
class SecretReference(Record):
    group: str = optional(API_GROUP, "")
    kind: str = optional(API_KIND, "Secret")
    name: str = required(OBJECT_NAME)
    namespace: str = optional(NAMESPACE, "")


@record
class ParentReference(Record):
    """What a route wants to be attached to: a Gateway, for a mesh a Service."""

    group: str = optional(API_GROUP, GROUP)
    kind: str = optional(API_KIND, "Gateway")
    name: str = required(OBJECT_NAME)
    namespace: str = optional(NAMESPACE, "")
    section_name: str = optional(SECTION, "")
    port: int | None = optional(PORT)


@record
class BackendObjectReference(Record):
    group: str = optional(API_GROUP, "")
    kind: str = optional(API_KIND, "Service")
    name: str = required(OBJECT_NAME)
    namespace: str = optional(NAMESPACE, "")
    port: int | None = optional(PORT)

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.group and self.kind == "Service" and self.port is None:
            yield "port", "is required for a Service"


@record
class BackendRef(BackendObjectReference):
    weight: int = optional(integer(0, MAX_WEIGHT), 1)


PARENTS = items(obj(ParentReference), 32)


def parent_faults(parents: Sequence[ParentReference]) -> Iterator[tuple[str, str]]:
    """For `check`: several references to one parent must tell themselves apart."""
    seen: dict[tuple[str, str, str, str], list[tuple[str, int]]] = {}
    for index, parent in enumerate(parents):
        whole = (parent.group, parent.kind, parent.name, parent.namespace)
        part = (parent.section_name, parent.port or 0)
        before = seen.setdefault(whole, [])
        if part in before:
            yield f"parentRefs[{index}]", f"refers to {parent.name!r} as one before it does"
        elif any(bool(a) != bool(b) for other in before for a, b in zip(other, part, strict=True)):
            message = f"sectionName or port must be given in every reference to {parent.name!r}"
            yield f"parentRefs[{index}]", message
        before.append(part)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def name_faults(rules: Sequence[_Named]) -> Iterator[tuple[str, str]]:
    """For `check`: rules' names are unique in a route."""
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name and rule.name in seen:
            yield f"rules[{index}]", f"the name {rule.name!r} is given twice"
        seen.add(rule.name)
