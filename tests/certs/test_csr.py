"""CSRs: only the key counts, and whatever bytes come, the answer is a key or a refusal."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from hypothesis import given
from hypothesis import strategies as st

from certs.csr import MAX_CSR_BYTES, CsrRefused, make_csr, open_csr
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
    assert public_key_der(open_csr(CSR).key) == public_key_der(KEY.public_key())


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA-2048"],
)
def test_other_kinds(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert public_key_der(open_csr(foreign_csr(key)).key) == public_key_der(key.public_key())


@pytest.mark.parametrize(
    ("pem", "reason", "complaint"),
    [
        (b"", "malformed", "not a PEM-encoded"),
        (b"\x00\xff" * 100, "malformed", "not a PEM-encoded"),
        (CSR[:-50], "malformed", "not a PEM-encoded"),
        (CSR.replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"), "malformed", "not a PEM-encoded"),
        (CSR + b"\n" * MAX_CSR_BYTES, "oversized", "larger than 16384 bytes"),
        (foreign_csr(KEY, "x" * 60) * 60, "oversized", "larger than"),
        (foreign_csr(rsa.generate_private_key(65537, 1024)), "key", "1024 bits"),
        (foreign_csr(ec.generate_private_key(ec.SECP521R1())), "key", "secp521r1"),
        (foreign_csr(ed25519.Ed25519PrivateKey.generate()), "key", "Ed25519"),
    ],
    ids=["empty", "binary", "cut", "label", "padded", "many", "small RSA", "P-521", "Ed25519"],
)
def test_refusals(pem: bytes, reason: str, complaint: str) -> None:
    with pytest.raises(CsrRefused, match=complaint) as caught:
        open_csr(pem)
    assert caught.value.reason == reason


OTHER = "spiffe://cluster.local/ns/kube-system/sa/admin"


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ([IDENTITY], False),
        ([IDENTITY, IDENTITY], False),
        ([OTHER], True),
        ([IDENTITY, OTHER], True),
        ([OTHER, IDENTITY], True),
        ([f"{IDENTITY}x"], True),
        ([str(IDENTITY)[:-1]], True),
        (["https://cart.example/"], True),
        ([x509.DNSName("cart")], False),
        ([x509.DNSName("cart"), IDENTITY], False),
        ([IDENTITY, x509.OtherName(x509.ObjectIdentifier("2.5.29.17"), b"\x05\x00")], False),
        ([OTHER, x509.OtherName(x509.ObjectIdentifier("2.5.29.17"), b"\x05\x00")], True),
    ],
)
def test_whose_identity_a_request_may_ask_for(
    names: list[SpiffeId | str | x509.GeneralName], refused: bool, critical: bool
) -> None:
    sans = [
        one if isinstance(one, x509.GeneralName) else x509.UniformResourceIdentifier(str(one))
        for one in names
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=critical)
    request = open_csr(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM))
    if not refused:
        request.check_identity(IDENTITY)
        return
    with pytest.raises(CsrRefused, match="CSR asks for identity") as caught:
        request.check_identity(IDENTITY)
    assert caught.value.reason == "identity"


def test_octets_that_look_like_the_identity_elsewhere_do_not_help() -> None:
    """The subject of this request spells out the extension that would be fine."""
    fine = x509.load_pem_x509_csr(CSR).tbs_certrequest_bytes
    start = fine.index(bytes.fromhex("0603551d11"))
    oid = x509.NameOID.X500_UNIQUE_IDENTIFIER
    decoy = x509.NameAttribute(oid, fine[start:], _type=_ASN1Type.BitString)
    name = x509.Name([decoy])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    other = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(OTHER)])
    builder = builder.add_extension(other, critical=True)
    request = open_csr(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM))
    with pytest.raises(CsrRefused, match="asks for identity"):
        request.check_identity(IDENTITY)


def test_a_request_without_names_asks_for_nothing() -> None:
    request = open_csr(foreign_csr(KEY, "cart"))
    assert request.asked == ()
    request.check_identity(IDENTITY)


def test_a_signature_by_another_key_is_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(CSR).public_bytes(Encoding.DER))
    # The same length and encoding: only the key and so the signature do not fit any more.
    old, new = (public_key_der(key.public_key()) for key in (KEY, generate_key()))
    position = der.index(old)
    der[position : position + len(old)] = new
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(CsrRefused, match="does not verify") as caught:
        open_csr(forged)
    assert caught.value.reason == "signature"


@given(st.integers(0, len(CSR) - 1), st.binary(min_size=1, max_size=3))
def test_mutations_are_a_key_or_a_refusal(position: int, replacement: bytes) -> None:
    try:
        open_csr(CSR[:position] + replacement + CSR[position + len(replacement) :])
    except CertificateError:
        pass


DER = x509.load_pem_x509_csr(CSR).public_bytes(Encoding.DER)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_der_mutations_keep_the_key_or_are_refused(position: int, octet: int) -> None:
    mutated = DER[:position] + bytes([octet]) + DER[position + 1 :]
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + b64encode(mutated)
    pem += b"\n-----END CERTIFICATE REQUEST-----\n"
    try:
        key = open_csr(pem).key
    except CertificateError:
        return
    assert public_key_der(key) == public_key_der(KEY.public_key())
