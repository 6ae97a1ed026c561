"""Answers in words for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from controlplane.authz.decide import Applied, Decision, Near
from controlplane.authz.explain import Answer
from controlplane.mesh.policy import AccessPolicy


def text(answers: Sequence[Answer]) -> str:
    return "\n\n".join("\n".join(_lines(answer)) for answer in answers)


def _lines(answer: Answer) -> Iterator[str]:
    yield f"{answer.outcome} {_because(answer)}"
    yield f"  {_who(answer)} -> {_what(answer)}"
    for note in answer.notes:
        yield f"  note: {note}"
    if (decision := answer.decision) is None:
        return
    for applied in decision.audited:
        yield f"  audited by {_applied(applied)}"
    if decision.would or decision.would_deny:
        yield f"  dry run: {_would(decision)}"
    if decision.near:
        yield "  near misses:"
    for near in decision.near:
        yield from _near(near)


def _because(answer: Answer) -> str:
    decision = answer.decision
    if decision is None:
        at = f" at {answer.token.by.position}" if answer.token.by is not None else ""
        return f"({answer.token.status}): {answer.token.refusal}{at}"
    if decision.outcome == "ASKS" and decision.by is not None:
        return f"{decision.asked!r}, whose answer decides: by {_applied(decision.by)}"
    if decision.by is not None:
        return f"by {_applied(decision.by)}"
    if decision.none_of:
        named = ", ".join(map(_policy, decision.none_of))
        return f"because no ALLOW policy applies: {named}"
    party = answer.asked.party
    return f"because no policy forbids it for {party.namespace}/{party.name}"


def _policy(policy: AccessPolicy) -> str:
    return f"{policy.namespace}/{policy.name} ({policy.position})"


def _applied(applied: Applied) -> str:
    action, rule = applied.policy.action, applied.rule
    return f"{action} {applied.name} at {rule.position}"


def _who(answer: Answer) -> str:
    inquiry = answer.inquiry
    return inquiry.identity or inquiry.source_ip or "a client without a certificate"


def _what(answer: Answer) -> str:
    party, inquiry = answer.asked.party, answer.inquiry
    ports = "/".join(map(str, inquiry.ports)) or "?"
    request = f": {inquiry.method} {inquiry.path}" if inquiry.http else ""
    return f"{party.namespace}/{party.name} port {ports}{request}"


def _would(decision: Decision) -> str:
    verdict = "would be denied" if decision.would_deny else "would be allowed"
    by = ", ".join(map(_applied, decision.would))
    return f"{verdict} by {by}" if by else f"{verdict}, as no ALLOW rule that runs dry applies"


def _near(near: Near) -> Iterator[str]:
    yield f"    {near.policy.action} {near.name} at {near.rule.position} missed:"
    for missed in near.missed:
        yield f"      {missed}  ({missed.clause.position})"
    if not near.missed:
        yield "      it asks about HTTP, of which a TCP port knows nothing"


# --------------------------------------------------------------------------- JSON


def tree(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [_tree(answer) for answer in answers]


def _tree(answer: Answer) -> dict[str, Any]:
    party, decision = answer.asked.party, answer.decision
    found: dict[str, Any] = {
        "workload": f"{party.namespace}/{party.name}",
        "from": answer.inquiry.identity or answer.inquiry.source_ip,
        "ports": list(answer.inquiry.ports),
        "outcome": answer.outcome,
        "reason": _because(answer),
        "notes": list(answer.notes),
    }
    if decision is None:
        return found | {"status": answer.token.status}
    return found | {
        "by": _rule(decision.by),
        "asks": decision.asked,
        "none_of": [{"policy": p.name, "position": str(p.position)} for p in decision.none_of],
        "audited": [_rule(applied) for applied in decision.audited],
        "dry_run": {"denies": decision.would_deny, "by": [_rule(one) for one in decision.would]},
        "near": [_near_tree(near) for near in decision.near],
    }


def _rule(applied: Applied | Near | None) -> dict[str, Any] | None:
    if applied is None:
        return None
    policy = applied.policy
    return {
        "policy": f"{policy.namespace}/{policy.name}",
        "action": policy.action,
        "rule": applied.rule.index,
        "name": applied.name,
        "position": str(applied.rule.position),
    }


def _near_tree(near: Near) -> dict[str, Any]:
    missed = [
        {
            "field": one.clause.name,
            "was": one.was,
            "excluded_by" if one.negated else "wanted": list(one.wanted),
            "position": str(one.clause.position),
        }
        for one in near.missed
    ]
    return {**(_rule(near) or {}), "missed": missed}
