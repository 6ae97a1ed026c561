"""SPIFFE bundle documents: what is emitted is read again, and what is wrong is refused whole."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwk

from certs.authority import Authority
from certs.errors import CertificateError
from certs.spiffe_bundle import SpiffeBundle, emit_bundle
from certs.x509 import chain_from_pem
from tests.support import pki

NOW = 1_800_000_000.0
ROOTS = tuple(Authority.create("td", NOW).certificate for _ in range(2))
JWT_KEY = jwk.ECKey.generate_key("P-256").as_dict(private=False)


def document(**changes: object) -> dict[str, Any]:
    """Of one root, with members of its key replaced; None takes one away."""
    made: dict[str, Any] = json.loads(emit_bundle(ROOTS[:1], 7, 60))
    key = {**made["keys"][0], **changes}
    made["keys"] = [{name: value for name, value in key.items() if value is not None}]
    return made


def parse(made: object) -> SpiffeBundle:
    return SpiffeBundle.parse(json.dumps(made))


def test_what_is_emitted_is_read() -> None:
    text = emit_bundle(ROOTS, 7, 60)
    bundle = SpiffeBundle.parse(text)
    assert (bundle.roots, bundle.sequence, bundle.refresh_hint_s) == (ROOTS, 7, 60)
    assert bundle.jwt_keys == ()
    assert emit_bundle(ROOTS, 7, 60) == text
    (first, _) = json.loads(text)["keys"]
    assert first.keys() == {"use", "kty", "crv", "x", "y", "x5c"}


def test_an_rsa_root_is_a_root_too() -> None:
    key = jwk.RSAKey.generate_key(2048).private_key
    assert key is not None
    roots = chain_from_pem(pki.rsa_certificate(key).encode())
    assert SpiffeBundle.parse(emit_bundle(roots, 1, 1)).roots == roots


def test_keys_of_other_uses_are_ignored() -> None:
    made = document()
    made["keys"] += [{"use": "wit-svid"}, {"kty": "future"}, {"use": 7}, made["keys"][0]]
    made["keys"].append({**JWT_KEY, "use": "jwt-svid", "kid": "k"})
    bundle = parse(made)
    assert bundle.roots == ROOTS[:1]
    assert [key.kid for key in bundle.jwt_keys] == ["k"]


def test_a_bundle_without_roots_is_read_and_not_usable() -> None:
    bundle = parse({"keys": []})
    assert (bundle.roots, bundle.sequence, bundle.refresh_hint_s) == ((), None, None)
    with pytest.raises(CertificateError, match="no key of use x509-svid"):
        bundle.check_usable()


def der(pem: str) -> str:
    return base64.b64encode(chain_from_pem(pem.encode())[0].public_bytes(Encoding.DER)).decode()


LEAF = pki.Authority().issue(uris=("spiffe://td/a",)).certificate


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "not a JSON object"),
        ({}, "no list [keys]"),
        ({"keys": {}}, "no list [keys]"),
        ({"keys": [1]}, "key 0 of the bundle: it is not a JSON object"),
        ({"keys": [{}] * 1001}, "more than 1000 keys"),
        (document(x5c=None), "exactly one certificate, and there are no"),
        (document(x5c=[]), "exactly one certificate, and there are 0"),
        (document(x5c=["a", "b"]), "exactly one certificate, and there are 2"),
        (document(x5c=[1]), "exactly one certificate"),
        (document(x5c=["!"]), "no certificate in base64"),
        (document(x5c=["AAAA"]), "no certificate in base64"),
        (document(x5c=[der(LEAF)]), "not a CA certificate"),
        (document(kty="RSA"), "[kty] is not that of the certificate"),
        (document(x=None), "[x] is not that of the certificate"),
        (document(crv="P-384"), "[crv] is not that of the certificate"),
        ({"keys": [{**JWT_KEY, "use": "jwt-svid"}]}, "[kid] is missing"),
        ({"keys": [{"use": "jwt-svid", "kid": "k"}]}, "[kty] is missing"),
        ({"keys": [], "spiffe_sequence": "7"}, "[spiffe_sequence] is not a whole number"),
        ({"keys": [], "spiffe_sequence": -1}, "[spiffe_sequence] is not a whole number"),
        ({"keys": [], "spiffe_refresh_hint": 1.5}, "[spiffe_refresh_hint] is not a whole number"),
        ({"keys": [], "spiffe_refresh_hint": True}, "[spiffe_refresh_hint] is not a whole number"),
    ],
)
def test_refused(made: object, words: str) -> None:
    with pytest.raises(CertificateError) as caught:
        parse(made)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (ec.generate_private_key(ec.BrainpoolP256R1()), "curve brainpoolP256r1: only P-256"),
        (ec.generate_private_key(ec.SECP192R1()), "curve secp192r1: only P-256"),
        (ec.generate_private_key(ec.SECP256K1()), "curve secp256k1: only P-256"),
        (ed25519.Ed25519PrivateKey.generate(), "neither EC nor RSA"),
    ],
)
def test_roots_with_keys_that_a_jwk_has_no_name_for_are_refused(
    key: pki.RootKey, words: str
) -> None:
    made = document(x5c=[der(pki.root_of(key))])
    with pytest.raises(CertificateError, match=words):
        parse(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "not JSON"), (b"\xff\xfe\x00", "not JSON"), ("[" * 99999, "not JSON"),
     (" " * (1 << 21), "larger than")],
)  # fmt: skip
def test_garbage(text: str | bytes, words: str) -> None:
    with pytest.raises(CertificateError, match=words):
        SpiffeBundle.parse(text)
