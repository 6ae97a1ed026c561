"""CSRs: only the key counts, and whatever bytes come, the answer is a key or a refusal."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.csr import MAX_CSR_BYTES, make_csr, read_csr
from certs.errors import CertificateError
from certs.keys import generate_key, public_key_der
from certs.spiffe import SpiffeId

IDENTITY = SpiffeId.workload("cluster.local", "default", "cart")
KEY = generate_key()
CSR = make_csr(KEY, IDENTITY)


def foreign_csr(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    common_name: str = "",
) -> bytes:
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None).public_bytes(Encoding.PEM)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_own_request_names_the_identity_critically() -> None:
    request = x509.load_pem_x509_csr(CSR)
    extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.critical
    assert list(extension.value) == [x509.UniformResourceIdentifier(str(IDENTITY))]
    assert public_key_der(read_csr(CSR)) == public_key_der(KEY.public_key())


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA-2048"],
)
def test_other_kinds(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert public_key_der(read_csr(foreign_csr(key))) == public_key_der(key.public_key())


@pytest.mark.parametrize(
    ("pem", "complaint"),
    [
        (b"", "not a PEM-encoded"),
        (b"\x00\xff" * 100, "not a PEM-encoded"),
        (CSR[:-50], "not a PEM-encoded"),
        (CSR.replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"), "not a PEM-encoded"),
        (CSR + b"\n" * MAX_CSR_BYTES, "larger than 16384 bytes"),
        (foreign_csr(KEY, "x" * 60) * 60, "larger than"),
        (foreign_csr(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (foreign_csr(ec.generate_private_key(ec.SECP521R1())), "secp521r1"),
        (foreign_csr(ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
    ],
    ids=["empty", "binary", "cut", "label", "padded", "many", "small RSA", "P-521", "Ed25519"],
)
def test_refusals(pem: bytes, complaint: str) -> None:
    with pytest.raises(CertificateError, match=complaint):
        read_csr(pem)


def test_a_signature_by_another_key_is_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(CSR).public_bytes(Encoding.DER))
    # The same length and encoding: only the key and so the signature do not fit any more.
    old, new = (public_key_der(key.public_key()) for key in (KEY, generate_key()))
    position = der.index(old)
    der[position : position + len(old)] = new
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(CertificateError, match="does not verify"):
        read_csr(forged)


@given(st.integers(0, len(CSR) - 1), st.binary(min_size=1, max_size=3))
def test_mutations_are_a_key_or_a_refusal(position: int, replacement: bytes) -> None:
    try:
        read_csr(CSR[:position] + replacement + CSR[position + len(replacement) :])
    except CertificateError:
        pass


DER = x509.load_pem_x509_csr(CSR).public_bytes(Encoding.DER)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_der_mutations_keep_the_key_or_are_refused(position: int, octet: int) -> None:
    mutated = DER[:position] + bytes([octet]) + DER[position + 1 :]
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + b64encode(mutated)
    pem += b"\n-----END CERTIFICATE REQUEST-----\n"
    try:
        key = read_csr(pem)
    except CertificateError:
        return
    assert public_key_der(key) == public_key_der(KEY.public_key())
