"""Key sets: which keys count, and whether a token that joserfc signed is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwk, jws

from certs.errors import CertificateError
from certs.jwt_keys import KeySet
from certs.jwt_token import Jwt, JwtError
from certs.spiffe import SpiffeId
from tests.support import pki

RSA = jwk.RSAKey.generate_key(2048)
OTHER_RSA = jwk.RSAKey.generate_key(2048)
P256, P384, P521 = (jwk.ECKey.generate_key(curve) for curve in ("P-256", "P-384", "P-521"))
ED25519 = jwk.OKPKey.generate_key("Ed25519")
OCT = jwk.OctKey.generate_key(512)
ALGORITHMS = [
    *((RSA, alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    (P256, "ES256"),
    (P384, "ES384"),
    (P521, "ES512"),
    (ED25519, "EdDSA"),
    *((OCT, alg) for alg in ("HS256", "HS384", "HS512")),
]


def signed(key: Any, alg: str, **header: str) -> Jwt:
    text = jws.serialize_compact(
        {"alg": alg, **header}, b'{"sub":"s"}', key, algorithms=None, registry=REGISTRY
    )
    return Jwt(text)


class Registry(jws.JWSRegistry):
    """Every algorithm, and no warning for EdDSA, which is what the vectors and Envoy have."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


REGISTRY = Registry()


def public(key: Any, **more: str) -> dict[str, Any]:
    members = key.as_dict(private=isinstance(key, jwk.OctKey))
    return {**members, **more}


def key_set(*members: object) -> KeySet:
    return KeySet.parse(json.dumps({"keys": members}))


def refusal(keys: KeySet, token: Jwt) -> str:
    with pytest.raises(JwtError) as caught:
        keys.verify(token)
    return str(caught.value)


FAILS = "Jwt verification fails"
NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"


@pytest.mark.parametrize(("key", "alg"), ALGORITHMS, ids=[alg for _, alg in ALGORITHMS])
def test_every_algorithm(key: Any, alg: str) -> None:
    token = signed(key, alg)
    key_set(public(key)).verify(token)
    key_set(public(key, alg=alg)).verify(token)
    token.signed += b"x"
    assert refusal(key_set(public(key)), token) == FAILS


def test_a_public_key_is_never_a_secret_of_hmac() -> None:
    """The classic confusion: a token of HS256 whose secret is the public key's text."""
    pem = jwk.OctKey.import_key(b"x" * 14 + RSA.as_bytes("DER", private=False)[20:])
    assert refusal(key_set(public(RSA)), signed(pem, "HS256")) == FAILS


def test_which_key_is_asked() -> None:
    token = signed(RSA, "RS256", kid="1")
    key_set(public(OTHER_RSA), public(RSA)).verify(token)
    key_set(public(RSA, kid="1")).verify(token)
    key_set(public(RSA, kid="2")).verify(signed(RSA, "RS256"))
    key_set(public(OTHER_RSA, kid="1"), public(RSA, kid="1")).verify(token)
    assert refusal(key_set(public(RSA, kid="2")), token) == NO_KEY
    assert refusal(key_set(public(RSA, alg="RS512")), token) == NO_KEY
    assert refusal(key_set(public(OTHER_RSA, kid="1"), public(RSA, kid="2")), token) == FAILS
    assert refusal(key_set(public(P256)), token) == FAILS


def test_a_curve_has_its_algorithm() -> None:
    token = signed(P256, "ES256")
    assert refusal(key_set(public(P384)), token) == FAILS
    token.alg = "ES384"
    assert refusal(key_set(public(P256)), token) == FAILS


def test_a_short_signature_of_ed25519_has_its_own_word() -> None:
    token = signed(ED25519, "EdDSA")
    token.signature = token.signature[:-1]
    assert refusal(key_set(public(ED25519)), token) == "Jwt ED25519 signature is wrong length"


def test_unusable_keys_are_left_out_and_a_private_part_is_not_read() -> None:
    keys = key_set(
        {"kty": "future"}, 7, {"kty": "RSA"}, public(RSA, alg="RSA-OAEP"), RSA.as_dict(private=True)
    )
    assert len(keys.keys) == 1
    assert not keys.keys[0].key.is_private


BAD_SETS = [
    ("", "invalid JSON"),
    ("[]", "invalid JSON"),
    ("[" * 100_000, "invalid JSON"),
    ("{" + " " * (1 << 20) + "}", "larger than"),
    ("{}", "does not have [keys] field"),
    ('{"a": "b"}', "does not have [keys] field"),
    ('{"keys": {}}', "[keys] in Jwks is not an array"),
    ('{"keys": []}', "any valid public key"),
    (json.dumps({"keys": [{}] * 1001}), "more than 1000 keys"),
    ('{"keys": [{"kty": 1}]}', "[kty] is not a string"),
    ('{"keys": [{"kty": "DSA"}]}', "[kty] 'DSA' is not supported"),
    ('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', "less than 2048 bits"),
    (json.dumps({"keys": [public(RSA, e="!")]}), "parse error"),
    (json.dumps({"keys": [public(P256, x="AA")]}), "parse error"),
    (json.dumps({"keys": [public(P256, y=public(P256)["x"])]}), "parse error"),
    (json.dumps({"keys": [public(P256, crv="secp256k1")]}), "[crv] 'secp256k1'"),
    (json.dumps({"keys": [public(ED25519, crv="X25519")]}), "[crv] 'X25519'"),
    (json.dumps({"keys": [public(P256, alg="RS256")]}), "[alg] 'RS256' does not fit"),
    (json.dumps({"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}), "shorter than 14 bytes"),
]


# The keys are new ones in each run; a test must keep its name.
@pytest.mark.parametrize(("text", "words"), BAD_SETS, ids=[words for _, words in BAD_SETS])
def test_bad_sets(text: str, words: str) -> None:
    with pytest.raises(CertificateError) as caught:
        KeySet.parse(text)
    assert words in str(caught.value)


def test_a_comma_too_many_is_taken_as_envoy_does() -> None:
    text = json.dumps({"keys": [public(RSA)]}).replace("}]", "},\n ] ,")
    KeySet.parse(text.encode()).verify(signed(RSA, "RS256"))


def test_certificates_by_kid() -> None:
    """Envoy's other form of a set: {kid: PEM of an RSA certificate}."""
    assert RSA.private_key is not None
    certificate = pki.rsa_certificate(RSA.private_key)
    keys = KeySet.parse(json.dumps({"1": certificate}))
    keys.verify(signed(RSA, "RS256", kid="1"))
    assert refusal(keys, signed(RSA, "RS256", kid="2")) == NO_KEY
    ec = pki.Authority().issue(uris=(str(SpiffeId("td", "/a")),)).certificate
    for pem, words in ((ec, "no RSA key"), (certificate[:-40] + "-----\n", "parse pubkey fails")):
        with pytest.raises(CertificateError, match=words):
            KeySet.parse(json.dumps({"1": pem}))
