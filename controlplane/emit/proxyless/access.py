"""Who may call a gRPC server: Envoy's RBAC as gRPC has it (gRFC A41).

It knows no tokens and asks nobody else. A rule that lets in by what can't be asked lets nobody in;
one that refuses leaves the question out and refuses more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from controlplane.emit import revoked
from controlplane.emit.access import HTTP_RBAC, Guards
from controlplane.emit.proxyless.losses import Losses
from controlplane.emit.rbac import Place, rules
from controlplane.emit.words import packed
from controlplane.mesh.model import InboundPort
from controlplane.mesh.policy import (
    AccessPolicy,
    Action,
    Attribute,
    Clause,
    Fact,
    Match,
    Rule,
    Value,
)
from controlplane.mesh.re2 import quoted

UNASKABLE: frozenset[Attribute] = frozenset(("token", "claim", "metadata", "sni"))
"""What a gRPC server does not know of a call."""

ENFORCED: tuple[Action, ...] = ("CUSTOM", "DENY", "ALLOW")


def http_filters(
    guards: Guards, port: InboundPort, denied: Sequence[str], losses: Losses
) -> Iterator[hcm_pb2.HttpFilter]:
    """In Istio's order. denied: revoked identities."""
    if denied:
        yield _filter(revoked.NAME, revoked.deny(denied))
    place = Place(http=True, port=port.listen_port, numbers=port.numbers)
    for policy in guards.access:
        _tell(policy, losses)
    for action in ENFORCED:
        policies = [policy for policy in guards.policies(action) if not policy.dry_run]
        made = rules([_askable(policy) for policy in policies], place)
        if made is not None:
            yield _filter(f"{HTTP_RBAC}.{action.lower()}", made)


def _filter(name: str, made: RBAC) -> hcm_pb2.HttpFilter:
    """gRPC knows filters by their names, so each has its own."""
    return hcm_pb2.HttpFilter(name=name, typed_config=packed(HttpRbac(rules=made)))


def _tell(policy: AccessPolicy, losses: Losses) -> None:
    named = f"AuthorizationPolicy {policy.namespace}/{policy.name}"
    if policy.dry_run or policy.action == "AUDIT":
        losses.note(f"gRPC servers try no policy without enforcing it: {named}", policy.position)
    elif policy.action == "CUSTOM":
        what = f"gRPC servers can't ask {policy.provider!r}: they refuse what {named} is about"
        losses.note(what, policy.position)
    elif any(map(_is_unaskable, policy.rules)):
        effect = "lets nobody in" if policy.action == "ALLOW" else "refuses, whatever they are"
        losses.note(
            f"gRPC servers know no tokens, SNI or metadata: a rule of {named} that asks for them "
            f"{effect}",
            policy.position,
        )


# --------------------------------------------------------------------------- what can be asked


def _askable(policy: AccessPolicy) -> AccessPolicy:
    if policy.action == "ALLOW":
        left = [rule for rule in policy.rules if not _is_unaskable(rule)]
    else:
        left = [_without_unaskable(rule) for rule in policy.rules]
    return replace(policy, rules=tuple(map(_spelled, left)))


def _is_unaskable(rule: Rule) -> bool:
    groups = (*rule.sources, *rule.operations, rule.conditions)
    return any(clause.attribute in UNASKABLE for group in groups for clause in group)


def _without_unaskable(rule: Rule) -> Rule:
    return replace(
        rule,
        sources=tuple(map(_asked, rule.sources)),
        operations=tuple(map(_asked, rule.operations)),
        conditions=_asked(rule.conditions),
    )


def _asked(clauses: Iterable[Clause]) -> tuple[Clause, ...]:
    return tuple(clause for clause in clauses if clause.attribute not in UNASKABLE)


# --------------------------------------------------------------------------- path templates


def _spelled(rule: Rule) -> Rule:
    """With expressions in place of path templates, which gRPC does not have."""
    operations = tuple(tuple(map(_clause, group)) for group in rule.operations)
    return replace(rule, operations=operations)


def _clause(clause: Clause) -> Clause:
    if clause.attribute != "path":
        return clause
    values = tuple(map(_value, clause.values))
    return replace(clause, values=values, not_values=tuple(map(_value, clause.not_values)))


def _value(value: Value) -> Value:
    return replace(value, facts=tuple(map(_fact, value.facts)))


def _fact(fact: Fact) -> Fact:
    if fact.match.kind != "template":
        return fact
    parts = map(_segment, fact.match.value.split("/"))
    return replace(fact, match=Match("regex", "/".join(parts)))


def _segment(text: str) -> str:
    """Istio's {*} is one whole segment, {**} all that is left."""
    return {"{*}": "[^/]+", "{**}": ".*"}.get(text) or quoted(text)
