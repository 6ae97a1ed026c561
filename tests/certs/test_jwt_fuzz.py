"""Tokens, key sets and bundles of strangers: whatever they hold, an error of ours or nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk

from certs.authority import Authority
from certs.errors import CertificateError
from certs.jwt_keys import KeySet
from certs.jwt_token import ALGORITHMS, Jwt
from certs.spiffe_bundle import SpiffeBundle, emit_bundle

NOW = 1_800_000_000.0
EXAMPLES = settings(max_examples=50, deadline=None)
JWKS = {
    "keys": [
        jwk.ECKey.generate_key("P-256").as_dict(private=False),
        jwk.RSAKey.generate_key(2048).as_dict(private=False),
        jwk.OKPKey.generate_key("Ed25519").as_dict(private=False),
    ]
}
SET = KeySet.parse(json.dumps(JWKS))
BUNDLE = json.loads(emit_bundle(Authority.create("td", NOW).bundle.roots, 1, 60))

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["P-256", "Ed25519", "RSA", "EC", "OKP", "oct", "AQAB", "A" * 43])
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = SCALARS | st.lists(SCALARS, max_size=2) | st.just({})
NAMES = st.sampled_from(
    ["alg", "kid", "crit", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kty", "crv", "x", "y",
     "n", "e", "k", "use", "x5c", "keys", "spiffe_sequence", "spiffe_refresh_hint"]
)  # fmt: skip
MEMBERS = st.dictionaries(NAMES, VALUES, max_size=4)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@EXAMPLES
@given(st.text(max_size=200) | st.text("abAB01-_.=", max_size=60))
def test_any_text(text: str) -> None:
    for read in (Jwt, KeySet.parse, SpiffeBundle.parse):
        try:
            read(text)
        except CertificateError:
            pass


@EXAMPLES
@given(st.sampled_from(sorted(ALGORITHMS)), MEMBERS, MEMBERS, st.binary(max_size=300))
def test_a_token_that_nobody_signed(
    alg: str, header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    text = f"{part({'alg': alg, **header})}.{part(claims)}"
    text += "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    try:
        token = Jwt(text)
        token.check_time(NOW, 60)
        SET.verify(token)
    except CertificateError:
        return
    raise AssertionError(f"believed: {text}")


@EXAMPLES
@given(st.integers(0, 2), MEMBERS)
def test_a_key_with_other_members(number: int, members: dict[str, Any]) -> None:
    keys = [dict(key) for key in JWKS["keys"]]
    keys[number].update(members)
    KeySet.parse(json.dumps({"keys": keys}))  # two good ones are left


@EXAMPLES
@given(MEMBERS, MEMBERS)
def test_a_bundle_with_other_members(inner: dict[str, Any], outer: dict[str, Any]) -> None:
    document = {**BUNDLE, "keys": [{**BUNDLE["keys"][0], **inner}], **outer}
    try:
        SpiffeBundle.parse(json.dumps(document))
    except CertificateError:
        pass
