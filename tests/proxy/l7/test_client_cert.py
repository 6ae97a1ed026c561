"""x-forwarded-client-cert: what a certificate says may not become another header."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from proxy.l7.client_cert import forwarded_client_cert
from proxy.tls.peer import certificate_facts
from proxy.tls.verify import why_chain

EVIL = "spiffe://td/a\r\nx-user: admin\r\n"


def made(name: str, *sans: x509.GeneralName) -> bytes:
    """DER of a certificate that its own key signs."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def test_names_that_are_no_header_are_left_out() -> None:
    good = x509.UniformResourceIdentifier("spiffe://td/b")
    names = (x509.UniformResourceIdentifier(EVIL), good, x509.DNSName("a\nb"), x509.DNSName("c"))
    peer = certificate_facts(made("a\r\nx-user: admin", *names))
    told = forwarded_client_cert(peer, {"subject", "uri", "dns"}, b"", tuple)
    subject = rb'Subject="CN=a\0D\0Ax-user: admin"'
    assert told == b"Hash=%b;%b;URI=spiffe://td/b;DNS=c" % (peer.sha256.encode(), subject)


def test_a_strangers_names_forge_no_line_of_the_log() -> None:
    told = why_chain(18, 0, made("root", x509.UniformResourceIdentifier(EVIL)))
    assert r"spiffe://td/a\r\nx-user: admin\r\n, serial" in told and told.isprintable()
    long = why_chain(18, 0, made("root", x509.DNSName("a" * 10_000)))
    assert "a" * 300 + "... (9700 more), serial" in long
