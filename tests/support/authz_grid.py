"""Requests that try every word of access policies: each alternative fulfilled, then missed by one.

Made from the rules of the neutral mesh, with a fixed seed, so that the same policies are always
asked the same. Knows no proxy.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from controlplane.authz.evaluate import matches
from controlplane.authz.inquiry import Inquiry
from controlplane.mesh.policy import AccessPolicy, Clause, Fact, Match, Rule, Value

OTHER_IDENTITY = "spiffe://cluster.local/ns/elsewhere/sa/nobody"
BASE = Inquiry(
    identity=OTHER_IDENTITY,
    source_ip="127.0.0.1",
    destination_ip="127.0.0.1",
    ports=(1,),
    host="elsewhere.test",
    method="PATCH",
    path="/elsewhere",
)
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
_SAMPLES = (("(.+/|)", ""), ("(/.+)?", ""), ("[^/]*", "q"), (".*", "any"), (".+", "any"))


def grid(policies: Sequence[AccessPolicy], http: bool, most: int = 40) -> list[Inquiry]:
    """At most so many inquiries, no two the same."""
    made = {repr(one): one for one in _inquiries(policies, replace(BASE, http=http))}
    found = list(made.values())
    if len(found) <= most:
        return found
    return found[:10] + random.Random(7).sample(found[10:], most - 10)


def _inquiries(policies: Iterable[AccessPolicy], base: Inquiry) -> Iterator[Inquiry]:
    """For each alternative of a rule: all of its clauses hold; each in turn does not; each of its
    other values; each exclusion is hit."""
    yield base
    yield replace(base, identity="")
    rules = [rule for policy in policies for rule in policy.rules]
    good = [(clauses, _fulfilled(base, clauses)) for rule in rules for clauses in _ways(rule)]
    yield from (inquiry for _, inquiry in good)
    for clauses, inquiry in good:
        for clause in clauses:
            yield _spoilt(inquiry, clause, base)
    for clauses, inquiry in good:
        for clause in clauses:
            for value in (*clause.values[1:], *clause.not_values):
                yield _with(inquiry, value)


def _ways(rule: Rule) -> Iterator[tuple[Clause, ...]]:
    for source in rule.sources or ((),):
        for operation in rule.operations or ((),):
            yield (*source, *operation, *rule.conditions)


def _fulfilled(base: Inquiry, clauses: Iterable[Clause]) -> Inquiry:
    made = base
    for clause in clauses:
        if clause.values:
            made = _with(made, clause.values[0])
    return made


def _with(inquiry: Inquiry, value: Value) -> Inquiry:
    for fact in value.facts:
        inquiry = _set(inquiry, fact, _sample(fact.match))
    return inquiry


def _spoilt(inquiry: Inquiry, clause: Clause, base: Inquiry) -> Inquiry:
    """What this clause looks at is as nobody wants it."""
    fact = (clause.values or clause.not_values)[0].facts[0]
    if fact.attribute == "header":
        left = {k: v for k, v in inquiry.headers.items() if k != fact.key[0].lower()}
        return replace(inquiry, headers=left)
    if fact.attribute in ("token", "claim"):
        return _set(inquiry, fact, "nobody-wants-this")
    if fact.attribute == "metadata":
        return replace(inquiry, metadata={})
    name = _FIELDS[fact.attribute]
    return replace(inquiry, **{name: getattr(base, name)})


_FIELDS = {
    "identity": "identity",
    "source_ip": "source_ip",
    "remote_ip": "remote_ip",
    "destination_ip": "destination_ip",
    "destination_port": "ports",
    "sni": "sni",
    "host": "host",
    "method": "method",
    "path": "path",
}


def _set(inquiry: Inquiry, fact: Fact, value: Any) -> Inquiry:
    """What a client can't choose (addresses of either end, metadata) stays as it is, and so does
    the method where no usual one is wanted: Envoy takes no other over HTTP/1."""
    if fact.attribute == "method" or fact.key == (":method",):
        known = next((one for one in _METHODS if matches(fact.match, one)), inquiry.method)
        return replace(inquiry, method=known)
    if fact.attribute in ("source_ip", "destination_ip", "metadata"):
        is_loopback = fact.attribute == "source_ip" and str(value).startswith("127.")
        return replace(inquiry, source_ip=value) if is_loopback else inquiry
    if fact.attribute == "destination_port":
        return replace(inquiry, ports=(int(value),))
    if fact.attribute == "path":
        return replace(inquiry, path=value if value.startswith("/") else f"/{value}")
    if fact.attribute == "header":
        text = value if isinstance(value, str) else ", ".join(["first", *value, "last"])
        return replace(inquiry, headers={**inquiry.headers, fact.key[0].lower(): text})
    if fact.attribute in ("token", "claim"):
        return replace(inquiry, claims=_placed(inquiry.claims or {}, fact.key, value))
    return replace(inquiry, **{_FIELDS[fact.attribute]: value})


def _placed(claims: Any, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    inner = claims.get(path[0]) if isinstance(claims, dict) else None
    made = value if len(path) == 1 else _placed(inner or {}, path[1:], value)
    return {**(claims if isinstance(claims, dict) else {}), path[0]: made}


def _sample(match: Match) -> Any:
    """A value that `match` takes."""
    if match.inner is not None:
        return [_sample(match.inner)]
    if match.kind == "regex":
        text = match.value
        for pattern, sample in _SAMPLES:
            text = text.replace(pattern, sample)
        text = re.sub(r"\\(.)", r"\1", text)
        return text if text.startswith("spiffe://") else f"spiffe://{text}"
    samples = {
        "exact": match.value,
        "port": match.value,
        "prefix": f"{match.value}x",
        "suffix": f"x{match.value}",
        "present": "something",
        "template": match.value.replace("**", "a/b").replace("*", "c"),
        "cidr": str(ip_network(match.value, strict=False)[0]) if match.kind == "cidr" else "",
    }
    return samples[match.kind]
