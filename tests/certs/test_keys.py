"""Private keys: round trips, passphrases, and the kinds that the mesh takes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.errors import CertificateError
from certs.keys import check_public_key, generate_key, key_from_pem, key_to_pem, public_key_der


def test_generates_p256() -> None:
    key = generate_key()
    assert isinstance(key.curve, ec.SECP256R1)
    assert public_key_der(key.public_key()) != public_key_der(generate_key().public_key())


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_round_trip(passphrase: bytes | None) -> None:
    key = generate_key()
    pem = key_to_pem(key, passphrase)
    assert (b"ENCRYPTED" in pem) == (passphrase is not None)
    again = key_from_pem(pem, passphrase)
    assert public_key_der(again.public_key()) == public_key_der(key.public_key())


@pytest.mark.parametrize(
    ("stored", "given", "complaint"),
    [
        (b"right", b"wrong", "wrong passphrase"),
        (b"right", None, "a passphrase is needed"),
        (None, b"any", "is not encrypted"),
    ],
)
def test_wrong_passphrases(stored: bytes | None, given: bytes | None, complaint: str) -> None:
    with pytest.raises(CertificateError, match=complaint):
        key_from_pem(key_to_pem(generate_key(), stored), given)


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_garbage_is_not_a_key(pem: bytes) -> None:
    with pytest.raises(CertificateError, match="private key is not valid PEM"):
        key_from_pem(pem)


def test_a_truncated_key_is_refused_without_showing_it() -> None:
    pem = key_to_pem(generate_key())
    with pytest.raises(CertificateError) as caught:
        key_from_pem(pem[: len(pem) // 2])
    assert pem.splitlines()[1].decode() not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
    ids=["P-256", "P-384", "RSA-2048"],
)
def test_kinds_that_are_taken(key: PublicKeyTypes) -> None:
    assert check_public_key(key) is key


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (ec.generate_private_key(ec.SECP521R1()).public_key(), "secp521r1"),
        (ec.generate_private_key(ec.SECP256K1()).public_key(), "secp256k1"),
        (rsa.generate_private_key(65537, 1024).public_key(), "1024 bits"),
        (ed25519.Ed25519PrivateKey.generate().public_key(), "Ed25519"),
        (ed448.Ed448PrivateKey.generate().public_key(), "Ed448"),
        (x25519.X25519PrivateKey.generate().public_key(), "X25519"),
        (dsa.generate_private_key(1024).public_key(), "DSA"),
    ],
    ids=["P-521", "secp256k1", "RSA-1024", "Ed25519", "Ed448", "X25519", "DSA"],
)
def test_kinds_that_are_refused(key: PublicKeyTypes, complaint: str) -> None:
    with pytest.raises(CertificateError, match=complaint):
        check_public_key(key)


def test_a_private_key_of_a_refused_kind() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(CertificateError, match="Ed25519"):
        key_from_pem(pem)
