"""Rules of access as Envoy's RBAC: one policy for each rule, under Istio's name.

Where nothing is known of HTTP (a TCP port), an ALLOW rule that asks about it takes nothing, and
the others leave the question out and take more (Istio's rule: rather too little than too much).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal

from controlplane.emit import facts
from controlplane.mesh.policy import PRINCIPAL_ATTRIBUTES, AccessPolicy, Clause, Fact, Rule, Value
from protos.frozen import frozen

_IN_METADATA = ("claim", "metadata")
_ACTIONS: dict[str, RBAC.Action] = {
    "ALLOW": RBAC.ALLOW,
    "DENY": RBAC.DENY,
    "AUDIT": RBAC.LOG,
    "CUSTOM": RBAC.DENY,
}


@frozen
class Place:
    """Where rules are to hold. port: the listener's, and numbers: by which policies may know it."""

    http: bool
    port: int = 0
    numbers: tuple[int, ...] = ()


def rules(policies: Sequence[AccessPolicy], place: Place, prefix: str = "") -> RBAC | None:
    """The rules of policies that have one action; None without a policy."""
    if not policies:
        return None
    result = RBAC(action=_ACTIONS[policies[0].action])
    for policy in policies:
        for rule in policy.rules:
            if (made := _policy(policy, rule, place)) is not None:
                result.policies[prefix + policy.rule_name(rule.index)].CopyFrom(made)
        if not policy.rules:
            result.policies[prefix + policy.rule_name(0)].CopyFrom(_never())
    return result


def _never() -> Policy:
    nothing, nobody = Permission(any=True), Principal(any=True)
    return Policy(permissions=[Permission(not_rule=nothing)], principals=[Principal(not_id=nobody)])


def _policy(policy: AccessPolicy, rule: Rule, place: Place) -> Policy | None:
    clauses = [c for group in (*rule.sources, *rule.operations, rule.conditions) for c in group]
    if policy.action == "ALLOW" and not place.http and any(c.http_only for c in clauses):
        return None
    asked_of_peer = [c for c in rule.conditions if c.attribute in PRINCIPAL_ATTRIBUTES]
    others = [c for c in rule.conditions if c.attribute not in PRINCIPAL_ATTRIBUTES]
    return Policy(
        permissions=[
            _all_permissions((*group, *others), place) for group in rule.operations or ((),)
        ],
        principals=[
            _all_principals((*group, *asked_of_peer), place) for group in rule.sources or ((),)
        ],
    )


def _known(clauses: Iterable[Clause], place: Place) -> Iterable[Clause]:
    return (clause for clause in clauses if place.http or not clause.http_only)


# --------------------------------------------------------------------------- permissions


def _all_permissions(clauses: Iterable[Clause], place: Place) -> Permission:
    found: list[Permission] = []
    for clause in _known(clauses, place):
        if clause.values:
            found.append(_one_permission(clause.values, place))
        if clause.not_values:
            found.append(Permission(not_rule=_one_permission(clause.not_values, place)))
    return Permission(and_rules=Permission.Set(rules=found or [Permission(any=True)]))


def _one_permission(values: Iterable[Value], place: Place) -> Permission:
    asked = [_at(fact, place) for value in values for fact in value.facts]
    if asked[0].attribute in _IN_METADATA:
        return Permission(metadata=facts.metadata(asked))
    return Permission(or_rules=Permission.Set(rules=[facts.permission(fact) for fact in asked]))


def _at(fact: Fact, place: Place) -> Fact:
    """A port that policies know by another number is asked for by the listener's own."""
    if fact.attribute != "destination_port" or int(fact.match.value) not in place.numbers:
        return fact
    return replace(fact, match=replace(fact.match, value=str(place.port)))


# --------------------------------------------------------------------------- principals


def _all_principals(clauses: Iterable[Clause], place: Place) -> Principal:
    found: list[Principal] = []
    for clause in _known(clauses, place):
        if clause.values:
            found.append(_one_principal(clause.values))
        if clause.not_values:
            found.append(Principal(not_id=_one_principal(clause.not_values)))
    return Principal(and_ids=Principal.Set(ids=found or [Principal(any=True)]))


def _one_principal(values: Sequence[Value]) -> Principal:
    asked = [fact for value in values for fact in value.facts]
    if asked[0].attribute in _IN_METADATA:
        return Principal(metadata=facts.metadata(asked))
    if asked[0].attribute != "token":
        return Principal(or_ids=Principal.Set(ids=[facts.principal(fact) for fact in asked]))
    pairs = [_pair(value) for value in values]
    return pairs[0] if len(pairs) == 1 else Principal(or_ids=Principal.Set(ids=pairs))


def _pair(value: Value) -> Principal:
    return Principal(and_ids=Principal.Set(ids=[facts.principal(fact) for fact in value.facts]))
