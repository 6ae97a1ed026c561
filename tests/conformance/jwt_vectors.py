"""jwt-vectors: tokens of Istio's and Envoy's own tests, verified or refused as their names say.

Each token is judged with the keys, issuer and audiences of the test that it comes from, in Envoy's
order: issuer, times, audience, signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certs.jwt_keys import KeySet
from certs.jwt_token import (
    AUDIENCE_NOT_ALLOWED,
    EXPIRED,
    NO_MATCHING_KEY,
    NOT_YET_VALID,
    UNKNOWN_ISSUER,
    VERIFICATION_FAILS,
    Jwt,
    JwtError,
    comparable,
)
from tests.conformance.suite import Result

# 2026, when most of the tokens are valid; Envoy's default clock skew.
NOW = 1_795_000_000.0
CLOCK_SKEW_S = 60.0
BAD_FORMAT = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"


@dataclass(frozen=True, slots=True)
class Verifier:
    keys: KeySet
    issuer: str
    audiences: frozenset[str] = frozenset()

    def verdict(self, text: str) -> str:
        """'' for a token that is verified."""
        try:
            token = Jwt(text)
            if token.issuer and token.issuer != self.issuer:
                return UNKNOWN_ISSUER
            token.check_time(NOW, CLOCK_SKEW_S)
            token.check_audience(self.audiences)
            self.keys.verify(token)
        except JwtError as error:
            return str(error)
        return ""


def run(cases: Path) -> Iterator[Result]:
    tokens = json.loads((cases / "tokens.json").read_text("utf-8"))
    yield from _istio(tokens["istio"], KeySet.parse((cases / "jwks.json").read_text("utf-8")))
    yield from _envoy(tokens["envoy"])


def _istio(tokens: Mapping[str, Any], keys: KeySet) -> Iterator[Result]:
    for name, entry in tokens.items():
        issuer = next((f"test-issuer-{n}@istio.io" for n in "123" if f"Issuer{n}" in name), "")
        verifier = Verifier(keys, issuer or "test-issuer-1@istio.io")
        expected = {"TokenExpired": EXPIRED, "TokenInvalid": BAD_FORMAT}.get(name, "")
        yield _compare(f"istio/{name}", verifier.verdict(entry["token"]), expected)


_AUDIENCES = ("example_service", "http://example_service1", "https://example_service2/")
_REFUSED = {
    "ExpiredToken": EXPIRED,
    "NotYetValidToken": NOT_YET_VALID,
    "InvalidAudToken": AUDIENCE_NOT_ALLOWED,
    "OtherGoodToken": UNKNOWN_ISSUER,
    # It names no kid, so that every key is tried.
    "NonExistKidToken": VERIFICATION_FAILS,
    # Envoy's test of it has no audiences to check.
    "NonExpiringToken": AUDIENCE_NOT_ALLOWED,
}


def _envoy(values: Mapping[str, Any]) -> Iterator[Result]:
    rsa = KeySet.parse(values["PublicKey"]["value"])
    ec = KeySet.parse(values["ES256PublicKey"]["value"])
    audiences = comparable(_AUDIENCES)
    example = Verifier(rsa, "https://example.com", audiences)
    for name, entry in values.items():
        if not name.endswith("Token"):
            continue
        text = entry["value"]
        verifier = Verifier(ec, "", audiences) if name.startswith("ES256") else example
        yield _compare(f"envoy/{name}", verifier.verdict(text), _REFUSED.get(name, ""))
    other = Verifier(rsa, "https://other.com", comparable(("other_service",)))
    good = values["OtherGoodToken"]["value"]
    yield _compare("envoy/OtherGoodToken for its own issuer", other.verdict(good), "")
    anybody = Verifier(rsa, "https://example.com")
    endless = values["NonExpiringToken"]["value"]
    # No key of the vectors signed it: it is there for its times, and passes those.
    found = anybody.verdict(endless)
    yield _compare("envoy/NonExpiringToken without audiences", found, VERIFICATION_FAILS)
    wrong = Verifier(ec, "https://example.com", audiences).verdict(values["GoodToken"]["value"])
    yield _compare("envoy/GoodToken with other keys", wrong, NO_MATCHING_KEY)
    yield _payload(values)


def _payload(values: Mapping[str, Any]) -> Result:
    token = Jwt(values["GoodToken"]["value"])
    expected = values["ExpectedPayloadValue"]["value"]
    claims = json.loads(values["ExpectedPayloadJSON"]["value"])
    same = token.payload == expected and token.claims == claims
    return Result("envoy/ExpectedPayload", "" if same else f"payload {token.payload}")


def _compare(name: str, found: str, expected: str) -> Result:
    if found == expected:
        return Result(name)
    return Result(name, f"expected {expected or 'verified'!r}, found {found or 'verified'!r}")
