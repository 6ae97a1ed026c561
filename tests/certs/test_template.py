"""The template against the library's builder, octet for octet."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from certs import der
from certs.keys import PrivateKey, PublicKey, generate_key
from certs.profiles import make_root
from certs.spiffe import SpiffeId
from certs.template import LeafTemplate, general_names, signature_hash
from certs.x509 import Certificate

NOW = 1_800_000_000
IN_2049, IN_2050 = 2_524_607_999, 2_524_608_000
IDENTITY = SpiffeId.workload("cluster.local", "default", "cart")
P256, P384 = generate_key(), ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


def built(
    issuer: Certificate,
    issuer_key: PrivateKey,
    key: PublicKey,
    sans: list[x509.GeneralName],
    times: tuple[int, int],
    serial: int,
) -> x509.Certificate:
    """The same certificate by cryptography's builder."""
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer.subject)
        .subject_name(x509.Name([]))
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(times[0], UTC))
        .not_valid_after(datetime.fromtimestamp(times[1], UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(issuer_id.digest, None, None), critical=False)
        .sign(issuer_key, signature_hash(issuer_key))
    )


@pytest.mark.parametrize("issuer_key", [P256, P384, RSA], ids=["by P-256", "by P-384", "by RSA"])
@pytest.mark.parametrize("key", [P256, P384, RSA], ids=["P-256", "P-384", "RSA"])
@pytest.mark.parametrize("times", [(NOW - 300, NOW), (IN_2049, IN_2050)], ids=["now", "2050"])
def test_equals_the_builder(
    issuer_key: PrivateKey, key: PrivateKey, times: tuple[int, int]
) -> None:
    issuer = make_root(issuer_key, "cluster.local", NOW)
    names = general_names(IDENTITY, ["localhost", "*.a-b.example"], ["127.0.0.1", "::1"])
    leaf = LeafTemplate(issuer, issuer_key).make(key.public_key(), names, *times)
    sans: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(str(IDENTITY)),
        x509.DNSName("localhost"),
        x509.DNSName("*.a-b.example"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    wanted = built(issuer, issuer_key, key.public_key(), sans, times, leaf.serial_number)
    assert leaf.tbs_certificate_bytes == wanted.tbs_certificate_bytes
    assert leaf.signature_algorithm_oid == wanted.signature_algorithm_oid
    leaf.verify_directly_issued_by(issuer)


def test_long_identities_take_long_lengths() -> None:
    issuer = make_root(P256, "cluster.local", NOW)
    identity = SpiffeId("t" * 255, "/" + "p" * 1700)
    leaf = LeafTemplate(issuer, P256).make(
        P384.public_key(), general_names(identity), NOW, NOW + 60
    )
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == [str(identity)]


def test_names_an_issuer_by_its_own_key_identifier() -> None:
    """Other CAs do not all hash their key as RFC 5280's first method does."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "theirs")])
    issuer = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(P256.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 60, UTC))
        .add_extension(x509.SubjectKeyIdentifier(b"their own"), critical=False)
        .sign(P256, signature_hash(P256))
    )
    leaf = LeafTemplate(issuer, P256).make(
        P384.public_key(), general_names(IDENTITY), NOW, NOW + 60
    )
    found = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert found.key_identifier == b"their own"


@given(st.integers(0, 5000))
def test_lengths_are_read_as_they_are_written(size: int) -> None:
    element = der.octet_string(b"x" * size)
    start, end = der.content_bounds(b"before" + element + b"behind", 6)
    assert end - start == size
    assert end == 6 + len(element)


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.1.11", "2.5.29.17", "1.3.6.1.5.5.7.3.1"])
def test_object_identifiers(dotted: str) -> None:
    name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(dotted), "x")])
    assert der.object_id(dotted) in name.public_bytes()


def test_the_issuer_is_named_octet_for_octet() -> None:
    """Some CAs write names in other string types; an equal text would not be an equal name."""
    issuer = make_root(P256, "cluster.local", NOW)
    leaf = LeafTemplate(issuer, P256).make(
        P384.public_key(), general_names(IDENTITY), NOW, NOW + 60
    )
    assert issuer.subject.public_bytes() in leaf.public_bytes(Encoding.DER)
