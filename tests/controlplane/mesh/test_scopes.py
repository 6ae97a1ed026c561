"""The index finds what looking at every scope finds, in the same order."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from controlplane.mesh.scopes import GATEWAY_NAME, Scope, ScopeIndex


@dataclass(frozen=True)
class Policy:
    number: int
    scope: Scope


SCOPES = [
    *(Scope(namespace) for namespace in ("", "a", "b")),
    *(Scope(namespace, {"app": app}) for namespace in ("", "a") for app in ("x", "y")),
    Scope("a", {"app": "x", "version": "v1"}),
    Scope("a", {"version": "v1", "app": "y"}),
    Scope("a", gateways=("edge", "inner")),
    Scope("a", gateways=()),
]
LABELS = [
    dict(zip(("app", "version", GATEWAY_NAME), chosen, strict=True))
    for chosen in itertools.product(("x", "y", "z"), ("v1", "v2"), ("edge", "none"))
]


def test_the_index_agrees_with_looking_at_all() -> None:
    policies = [Policy(number, scope) for number, scope in enumerate(SCOPES * 2)]
    random.Random(1).shuffle(policies)
    index = ScopeIndex(policies)
    asked = [({}, "a"), ({"app": "x"}, ""), *((labels, ns) for labels in LABELS for ns in "abc")]
    seen = 0
    for labels, namespace in asked:
        found = index.of(namespace, labels)
        assert found == tuple(p for p in policies if p.scope.takes(namespace, labels))
        seen += len(found)
    assert seen > 200


def test_a_gateway_is_meant_by_its_name() -> None:
    edge = Scope("a", gateways=("edge",))
    assert edge.takes("a", {GATEWAY_NAME: "edge"})
    assert not edge.takes("a", {"app": "edge"})
    assert not edge.takes("b", {GATEWAY_NAME: "edge"})
