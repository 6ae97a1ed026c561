"""What becomes of a token is foretold: by RequestAuthentications as Envoy and Weft enforce them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from joserfc.jwk import ECKey

from controlplane.authz.decide import decide
from controlplane.authz.inquiry import Inquiry
from controlplane.authz.tokens import verified
from controlplane.emit.access import Guards, http_filters
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build
from tests.support.authz_court import Court, Trial, Verdict, foretold, key_set
from tests.support.authz_grid import BASE
from tests.support.envoy import envoy
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

ACCESS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: who}
spec:
  rules:
  - from: [{source: {requestPrincipals: ["*"]}}]
    when: [{key: "request.auth.claims[groups]", values: [staff]}]
  - to: [{operation: {paths: [/open]}}]
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
"""
RULES = {
    "one": "  - {issuer: a, jwks: 'KEYS', spaceDelimitedClaims: [groups]}\n",
    "several": "  - {issuer: a, jwks: 'KEYS', audiences: [x, w]}\n  - {issuer: b, jwks: 'KEYS'}\n",
    "unknown keys": "  - {issuer: a}\n  - {issuer: b, jwks: 'KEYS'}\n",
    "none": "",
}
STAFF = {"iss": "a", "sub": "s", "aud": "x", "groups": ["staff"]}
CLAIMS: tuple[Mapping[str, Any] | None, ...] = (
    None,
    STAFF,
    STAFF | {"iss": "b"},
    STAFF | {"iss": "c"},
    STAFF | {"aud": "z"},
    STAFF | {"aud": ["z", "w"]},
    STAFF | {"groups": "visitors staff"},
    STAFF | {"groups": "staff"},
    {"iss": "a", "groups": ["staff"], "aud": "x"},
    {"sub": "s", "groups": ["staff"], "aud": "x"},
)
KEY = ECKey.generate_key("P-256", {"kid": "k"})
Start = Callable[[dict[str, Any], Path], ProxyProcess]


def guards(name: str) -> Guards:
    text = ACCESS
    if rules := RULES[name]:
        text += "---" + TOKENS + rules.replace("KEYS", key_set(KEY))
    parsed = parse(text, "t.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    return Guards.of(mesh.security, "default", {})


def inquiries() -> tuple[Inquiry, ...]:
    return tuple(
        replace(BASE, path=path, claims=claims) for claims in CLAIMS for path in ("/", "/open")
    )


def expected(found: Guards, inquiry: Inquiry) -> Verdict:
    token = verified(inquiry.claims, found.tokens)
    if token.refusal:
        return Verdict("DENIED" if token.status == 403 else str(token.status))
    return foretold(decide(found.access, replace(inquiry, claims=token.claims)), http=True)


def trial(name: str) -> Trial:
    def filters(port: int, numbers: tuple[int, ...]) -> Sequence[Message]:
        return http_filters(guards(name), port, numbers)

    return Trial(name, True, filters, inquiries(), reads_tokens=True)


@pytest.mark.parametrize("start", [envoy, weft_proxy])
def test_tokens_are_worth_what_is_foretold(tmp_path: Path, start: Start) -> None:
    async def judge() -> dict[str, list[Verdict]]:
        with Reservation() as reservation:
            court = Court([trial(name) for name in RULES], tmp_path, reservation, key=KEY)
            with start(court.bootstrap(), tmp_path):
                return await court.verdicts()

    found = asyncio.run(judge())
    wrong = []
    outcomes = set()
    for name in RULES:
        for inquiry, verdict in zip(inquiries(), found[name], strict=True):
            wanted = expected(guards(name), inquiry)
            outcomes.add(wanted.outcome)
            if wanted != replace(verdict, detail=verdict.detail if wanted.detail else ""):
                wrong.append(f"{name} {inquiry.path} {inquiry.claims}: {wanted}, {verdict}")
    assert outcomes == {"ALLOWED", "DENIED", "401"}
    assert not wrong, "\n".join(wrong)
