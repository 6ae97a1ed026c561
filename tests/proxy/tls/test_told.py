"""What a session tells when it is asked: as the peer and the certificates have it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.config import model
from proxy.tls.contexts import ServerTls, client_context, server_context
from proxy.tls.peer import certificate_facts
from tests.support.pki import Authority
from tests.support.tls import certificate, handshake, python_client, python_handshake, validation

ROOT = Authority()
BELOW = Authority("below", above=ROOT)
SERVER = ROOT.issue(dns=("server.test",))
LEAF, DEEP = ROOT.issue(uris=("spiffe://td/a",)), BELOW.issue(uris=("spiffe://td/b",))


def server(version: Any = "TLSv1_3", *, tickets: bool = True) -> ServerTls:
    common = model.CommonTls(
        certificates=(certificate(SERVER),), validation=validation(ROOT), max_version=version
    )
    return server_context(model.DownstreamTls(common, True, stateless_resumption=tickets), {})


def digest(pem: str) -> str:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def test_the_issuer_is_the_one_by_whom_the_peer_was_verified() -> None:
    client = python_client(ROOT, LEAF)  # which shows its own certificate alone
    _, session = python_handshake(client, server(), "server.test")
    assert session.told("issuer_sha256") == digest(ROOT.pem)
    serial = x509.load_pem_x509_certificate(ROOT.pem.encode()).serial_number
    assert int(session.told("issuer_serial"), 16) == serial
    shown = DEEP.__class__(DEEP.certificate + BELOW.pem, DEEP.key)
    _, session = python_handshake(python_client(ROOT, shown), server(), "server.test")
    assert session.told("issuer_sha256") == digest(BELOW.pem)


def test_without_a_certificate_there_is_no_issuer() -> None:
    tls = server_context(
        model.DownstreamTls(model.CommonTls(certificates=(certificate(SERVER),))), {}
    )
    _, session = python_handshake(python_client(ROOT), tls, "server.test")
    assert (session.told("issuer_serial"), session.told("issuer_sha256")) == ("", "")


@pytest.mark.parametrize("tickets", [False, True])
def test_the_id_of_a_session_of_tls_1_2_is_the_clients_too(tickets: bool) -> None:
    at_client, session = python_handshake(
        python_client(ROOT, LEAF), server("TLSv1_2", tickets=tickets), "server.test"
    )
    theirs = at_client.tls.session
    assert theirs is not None
    # With a ticket the client makes up an id, and the server has none.
    assert session.told("session_id") == ("" if tickets else theirs.id.hex())
    assert len(theirs.id) == 32


def test_a_session_of_tls_1_3_has_no_id() -> None:
    common = model.CommonTls(certificates=(certificate(LEAF),), validation=validation(ROOT))
    client = client_context(model.UpstreamTls(common, "server.test"), {})
    for one in handshake(client, server()):
        assert (one.told("session_id"), one.told("group")) == ("", "X25519")


def test_other_names_are_told_as_they_stand() -> None:
    pair = ROOT.issue(dns=("a.test",))
    leaf = x509.load_pem_x509_certificate(pair.certificate.encode())
    oids = [x509.ObjectIdentifier(f"1.3.6.1.4.1.311.20.2.{number}") for number in (3, 4)]
    names = [
        x509.OtherName(oids[0], b"\x0c\x0buser@a.test"),
        x509.DNSName("a.test"),
        x509.OtherName(oids[1], b"\x0c\x05other"),
        x509.OtherName(oids[1], b"\x01\x01\xff"),  # no string
    ]
    again = (
        x509.CertificateBuilder(leaf.issuer, leaf.subject, leaf.public_key(), leaf.serial_number)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    facts = certificate_facts(again.public_bytes(Encoding.DER))
    assert facts.other_sans == ("user@a.test", "other")
    assert facts.dns_sans == ("a.test",)


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ecdsa_secp256r1_sha256"),
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa_secp384r1_sha384"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa_secp521r1_sha512"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), ""),  # with one digest or another
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519", "RSA"],
)
def test_a_key_that_leaves_no_choice_tells_how_it_signs(key: Any, scheme: str) -> None:
    leaf = x509.load_pem_x509_certificate(LEAF.certificate.encode())
    again = (
        x509.CertificateBuilder(leaf.issuer, leaf.subject, key.public_key(), leaf.serial_number)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    assert certificate_facts(again.public_bytes(Encoding.DER)).scheme == scheme
