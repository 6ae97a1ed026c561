"""Which policy decides about an inquiry, and which nearly did: the order of Istio and Envoy.

CUSTOM, DENY, ALLOW; within an action rules are tried in the order of their names, and the first
that applies is the one that is named. Without an ALLOW policy everything is allowed that is not
denied. Pure; judged against what the proxies decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from controlplane.authz.evaluate import actual, holds, means
from controlplane.authz.inquiry import Inquiry
from controlplane.mesh.policy import AccessPolicy, Action, Authorizer, Clause, Rule
from protos.frozen import frozen

Outcome = Literal["ALLOWED", "DENIED", "ASKS"]
MAX_NEAR = 5


@frozen
class Applied:
    """A rule that applies."""

    policy: AccessPolicy
    rule: Rule

    @property
    def name(self) -> str:
        return self.policy.rule_name(self.rule.index)


@frozen
class Missed:
    """A clause that did not hold: what was there, and what the policy wants (or, negated, does not
    want)."""

    clause: Clause
    was: str
    wanted: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        if self.negated:
            return f"{self.clause.name}: {self.was} is excluded by {' or '.join(self.wanted)}"
        return f"{self.clause.name}: was {self.was}, wanted {' or '.join(self.wanted)}"


@frozen
class Near:
    """A rule that does not apply, and why, by its alternatives that come nearest."""

    policy: AccessPolicy
    rule: Rule
    missed: tuple[Missed, ...]

    @property
    def name(self) -> str:
        return self.policy.rule_name(self.rule.index)


@frozen
class Decision:
    """by: the rule that decided; None where no policy applies. asked: the provider that is asked
    first; where the outcome is ASKS nothing else stands in the way. none_of: the ALLOW policies of
    which none applied. would: what policies that run dry would have done."""

    outcome: Outcome
    by: Applied | None = None
    asked: str = ""
    none_of: tuple[AccessPolicy, ...] = ()
    near: tuple[Near, ...] = ()
    audited: tuple[Applied, ...] = ()
    would: tuple[Applied, ...] = ()
    would_deny: bool = False


@dataclass(slots=True)
class _Court:
    """The policies of one workload, and one inquiry."""

    policies: Sequence[AccessPolicy]
    inquiry: Inquiry
    authorizers: Mapping[str, Authorizer]

    def of(self, action: Action, *, dry: bool = False) -> list[AccessPolicy]:
        return [p for p in self.policies if p.action == action and p.dry_run == dry]

    def can_ask(self, custom: Iterable[AccessPolicy]) -> bool:
        """Of one workload's policies all must ask the same, who is known (Istio)."""
        providers = {policy.provider for policy in custom}
        return len(providers) == 1 and providers <= self.authorizers.keys()

    def is_beyond(self, provider: str) -> bool:
        """Who is asked over HTTP can't be asked about a connection."""
        return not self.inquiry.http and self.authorizers[provider].protocol == "http"

    def first(self, policies: Iterable[AccessPolicy]) -> Applied | None:
        """The first rule that applies, by name as Envoy's map is sorted."""
        pairs = [(policy, rule) for policy in policies for rule in policy.rules]
        for policy, rule in sorted(pairs, key=lambda pair: pair[0].rule_name(pair[1].index)):
            if applies(policy, rule, self.inquiry):
                return Applied(policy, rule)
        return None


def decide(
    policies: Sequence[AccessPolicy], inquiry: Inquiry, authorizers: Iterable[Authorizer] = ()
) -> Decision:
    """policies: those whose scope takes the workload. authorizers: whom CUSTOM may ask."""
    court = _Court(policies, inquiry, {one.name: one for one in authorizers if not one.fault})
    audited = court.first(court.of("AUDIT"))
    outcome, by, asked = _outcome(court)
    allowing = tuple(court.of("ALLOW"))
    denied_by_none = outcome == "DENIED" and by is None
    would, would_deny = _dry(court)
    return Decision(
        outcome=outcome,
        by=by,
        asked=asked,
        none_of=allowing if denied_by_none else (),
        near=near_misses(_interesting(court, outcome, by), inquiry, by),
        audited=(audited,) if audited is not None else (),
        would=would,
        would_deny=would_deny,
    )


def _outcome(court: _Court) -> tuple[Outcome, Applied | None, str]:
    custom = court.of("CUSTOM")
    asks = court.first(custom)
    if asks is not None and not court.can_ask(custom):
        return "DENIED", asks, ""
    if asks is not None and court.is_beyond(asks.policy.provider):
        asks = None
    asked = asks.policy.provider if asks is not None else ""
    if (denied := court.first(court.of("DENY"))) is not None:
        return "DENIED", denied, asked
    allowing = court.of("ALLOW")
    allowed = court.first(allowing)
    if allowing and allowed is None:
        return "DENIED", None, asked
    return ("ASKS", asks, asked) if asks is not None else ("ALLOWED", allowed, "")


def _dry(court: _Court) -> tuple[tuple[Applied, ...], bool]:
    """What the policies that run dry find, and whether they would deny."""
    denied = court.first(court.of("DENY", dry=True))
    allowing = court.of("ALLOW", dry=True)
    allowed = court.first(allowing)
    found = tuple(one for one in (denied, allowed) if one is not None)
    return found, denied is not None or (bool(allowing) and allowed is None)


def _interesting(
    court: _Court, outcome: Outcome, by: Applied | None
) -> Iterator[tuple[AccessPolicy, Rule]]:
    """Rules that would have changed the outcome, had they applied."""
    actions: tuple[Action, ...] = ("CUSTOM", "DENY")
    if outcome == "DENIED":
        actions = ("ALLOW",) if by is None else ()
    for policy in court.policies:
        if policy.action in actions and not policy.dry_run:
            yield from ((policy, rule) for rule in policy.rules)


# --------------------------------------------------------------------------- one rule


def applies(policy: AccessPolicy, rule: Rule, inquiry: Inquiry) -> bool:
    """Whether `rule` takes the inquiry. What is HTTP's on a connection: see emit.rbac."""
    if not inquiry.http and policy.action == "ALLOW" and _asks_http(rule):
        return False
    return not _missed(rule, inquiry)


def _asks_http(rule: Rule) -> bool:
    groups = (*rule.sources, *rule.operations, rule.conditions)
    return any(clause.http_only for group in groups for clause in group)


def _missed(rule: Rule, inquiry: Inquiry) -> tuple[Missed, ...]:
    """Nothing where the rule applies."""
    return (
        *_nearest(rule.sources, inquiry),
        *_nearest(rule.operations, inquiry),
        *_failing(rule.conditions, inquiry),
    )


def _nearest(groups: tuple[tuple[Clause, ...], ...], inquiry: Inquiry) -> tuple[Missed, ...]:
    """Of the alternatives the one that fails in the fewest places."""
    failing = (tuple(_failing(group, inquiry)) for group in groups)
    return min(failing, key=len, default=())


def _failing(group: tuple[Clause, ...], inquiry: Inquiry) -> Iterator[Missed]:
    for clause in group:
        if (inquiry.http or not clause.http_only) and not holds(clause, inquiry):
            yield _miss(clause, inquiry)


def _miss(clause: Clause, inquiry: Inquiry) -> Missed:
    """One of its exclusions where its values hold, else what the values want."""
    values = clause.values
    was = shown(clause, inquiry)
    if not values or any(means(value, inquiry) for value in values):
        hit = tuple(value.text for value in clause.not_values if means(value, inquiry))
        return Missed(clause, was, tuple(dict.fromkeys(hit)), negated=True)
    return Missed(clause, was, tuple(dict.fromkeys(value.text for value in values)))


def shown(clause: Clause, inquiry: Inquiry) -> str:
    """What the inquiry has where the clause looks, for people."""
    facts = (clause.values or clause.not_values)[0].facts
    if clause.attribute == "token":
        parts = ["/".join(map(str, actual(fact, inquiry))) for fact in facts]
        return "/".join(parts) if any(parts) else "absent"
    found: list[Any] = []
    for one in actual(facts[0], inquiry):
        found += one if isinstance(one, list) else [one]
    return ", ".join(map(str, found)) if found and found != [""] else "absent"


# --------------------------------------------------------------------------- near misses


def near_misses(
    rules: Iterable[tuple[AccessPolicy, Rule]], inquiry: Inquiry, by: Applied | None
) -> tuple[Near, ...]:
    """The nearest first: those that fail in the fewest places, at most MAX_NEAR."""
    found: list[Near] = []
    for policy, rule in rules:
        missed = _missed(rule, inquiry)
        http_only = not inquiry.http and policy.action == "ALLOW" and _asks_http(rule)
        if (missed or http_only) and (by is None or by.rule is not rule):
            found.append(Near(policy, rule, missed))
    return tuple(sorted(found, key=lambda near: (len(near.missed), near.name))[:MAX_NEAR])
