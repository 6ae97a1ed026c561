"""An explanation: one question about a mesh that stands in files, answered for each workload.

What a person asks (names) becomes inquiries (facts); the answers say who decided and where that
stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from controlplane.authz.decide import Decision, decide
from controlplane.authz.inquiry import Inquiry
from controlplane.authz.parties import Asked, Parties
from controlplane.authz.tokens import Verified, verified
from controlplane.inventory import Snapshot
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import Mesh
from protos.frozen import frozen


@frozen
class Question:
    """As on the command line. port: the service's; None is its first HTTP port."""

    source: str
    target: str
    namespace: str = "default"
    port: int | None = None
    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, Any] | None = None
    sni: str = ""
    source_ip: str = ""
    remote_ip: str = ""
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@frozen
class Answer:
    """For one workload. decision None: the token was refused before any policy."""

    asked: Asked
    inquiry: Inquiry
    token: Verified
    decision: Decision | None
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        return self.decision.outcome if self.decision is not None else "DENIED"


def explain(mesh: Mesh, snapshot: Snapshot, question: Question) -> list[Answer]:
    """Raises UnknownParty."""
    parties = Parties(mesh, snapshot)
    identity = parties.identity(question.source, question.namespace)
    asked = parties.asked(question.target, question.namespace, question.port)
    return [_answer(mesh, question, identity, one) for one in asked]


def _answer(mesh: Mesh, question: Question, identity: str, asked: Asked) -> Answer:
    party, security = asked.party, mesh.security
    found = security.tokens_of.of(party.namespace, party.labels)
    tokens = [rule for policy in found for rule in policy.rules]
    token = verified(question.claims, tokens) if asked.http else Verified()
    inquiry = _inquiry(question, identity, asked, token)
    inquiry = replace(inquiry, normalization=security.normalization)
    policies = security.access_of.of(party.namespace, party.labels)
    decision = None if token.refusal else decide(policies, inquiry, security.authorizers)
    return Answer(asked, inquiry, token, decision, tuple(_notes(asked, identity, token)))


def _inquiry(question: Question, identity: str, asked: Asked, token: Verified) -> Inquiry:
    own_ip = question.source if is_ip(question.source) else ""
    return Inquiry(
        identity=identity,
        source_ip=question.source_ip or own_ip,
        remote_ip=question.remote_ip,
        destination_ip=asked.party.address,
        ports=asked.numbers,
        sni=question.sni,
        http=asked.http,
        host=question.host or asked.host,
        method=question.method,
        path=question.path,
        headers={name.lower(): value for name, value in question.headers.items()},
        claims=token.claims,
        metadata=question.metadata,
    )


def _notes(asked: Asked, identity: str, token: Verified) -> list[str]:
    notes = [token.note] if token.note else []
    strict = [p for p in asked.party.inbound if p.mtls == "STRICT" and p.numbers == asked.numbers]
    if strict and not identity:
        notes.append(
            "the port takes mutual TLS only (STRICT): nobody without a certificate is let in"
        )
    if not asked.http:
        notes.append("a TCP port: method, path, host, headers and claims are not known there")
    return notes
