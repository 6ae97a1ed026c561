"""What becomes of an object's status when we have something to say of it. Pure.

An edit is compared by what it says, so that nothing is written that was written. It takes the
status that is there and answers the one that should be: what others say stays, and a condition
keeps its lastTransitionTime while its status is the same (Kubernetes API conventions).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.mesh.conditions import PASSING
from controlplane.sources.kubernetes.answers import mapping

Json = Mapping[str, Any]


class Edit(Protocol):
    def __call__(self, status: Json, now: str) -> dict[str, Any]:
        """`status` as it should be; `status` is not changed. now: RFC 3339."""


@dataclass(frozen=True)
class Fields:
    """These fields of the status are ours: `conditions`, addresses, listeners, Istio's
    `validationMessages` ... Other fields, and conditions of other types, stay."""

    fields: Json

    def __call__(self, status: Json, now: str) -> dict[str, Any]:
        return _settled(self.fields, status, now)


@dataclass(frozen=True)
class Cleared:
    """These fields, and the condition of this type, were ours and go."""

    fields: tuple[str, ...]
    condition: str

    def __call__(self, status: Json, now: str) -> dict[str, Any]:
        made = {k: copy.deepcopy(v) for k, v in status.items() if k not in self.fields}
        if "conditions" in made:
            there = made["conditions"] or ()
            made["conditions"] = [one for one in there if one.get("type") != self.condition]
        return made


@dataclass(frozen=True)
class Parents:
    """Of a Gateway API route: each of `parents` (parentRef, conditions) is what we say, as the
    first of our `controllers` unless it has a controllerName; entries of other controllers stay,
    those of ours that are not named go."""

    controllers: tuple[str, ...]
    parents: Sequence[Json]

    def __call__(self, status: Json, now: str) -> dict[str, Any]:
        return _ours(status, "parents", "parentRef", self.controllers, self.parents, now)


@dataclass(frozen=True)
class Ancestors:
    """Of a Gateway API policy (BackendTLSPolicy), likewise, by ancestorRef."""

    controllers: tuple[str, ...]
    ancestors: Sequence[Json]

    def __call__(self, status: Json, now: str) -> dict[str, Any]:
        return _ours(status, "ancestors", "ancestorRef", self.controllers, self.ancestors, now)


def _ours(
    status: Json,
    name: str,
    reference: str,
    controllers: tuple[str, ...],
    ours: Sequence[Json],
    now: str,
) -> dict[str, Any]:
    there = [mapping(one) for one in status.get(name) or ()]
    others = (one for one in there if one.get("controllerName") not in controllers)
    kept = [copy.deepcopy(dict(one)) for one in others]
    for one in ours:
        said = {"controllerName": controllers[0], **one}
        before = next(
            (
                old
                for old in there
                if old.get("controllerName") == said["controllerName"]
                and old.get(reference) == one.get(reference)
            ),
            {},
        )
        kept.append(_settled(said, before, now))
    return {**copy.deepcopy(dict(status)), name: kept}


def _settled(wanted: Json, before: Json, now: str) -> dict[str, Any]:
    """`before` with the fields of `wanted`; conditions are merged by type, also those of a
    Gateway's listeners, which are matched by name."""
    made = copy.deepcopy(dict(before))
    for name, value in wanted.items():
        if name == "conditions":
            made[name] = _conditions(value, before.get(name) or (), now)
        elif name == "listeners":
            old = {mapping(one).get("name"): mapping(one) for one in before.get(name) or ()}
            made[name] = [_settled(one, _only_conditions(old, one), now) for one in value]
        else:
            made[name] = copy.deepcopy(value)
    return made


def _only_conditions(old: Mapping[Any, Json], one: Json) -> Json:
    known = old.get(one.get("name"), {})
    return {"conditions": known.get("conditions") or []}


def _conditions(wanted: Sequence[Json], before: Sequence[Json], now: str) -> list[dict[str, Any]]:
    old = {one.get("type"): one for one in before}
    made = {type_: copy.deepcopy(dict(one)) for type_, one in old.items() if type_ not in PASSING}
    for one in wanted:
        known = old.get(one.get("type"), {})
        since = known.get("lastTransitionTime")
        changed = known.get("status") != one.get("status")
        made[one.get("type")] = {
            **one,
            "lastTransitionTime": now if changed or not since else since,
        }
    return list(made.values())
