"""What a peer has sent is encoded once for all connections that share OpenSSL's object of it."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from proxy.config import model
from proxy.tls.contexts import client_context, server_context
from proxy.tls.ders import Ders
from proxy.tls.openssl import lib
from tests.support.pki import Authority
from tests.support.tls import SessionSide, certificate, shake_hands, validation

ROOT = Authority()
SERVER, PEER = ROOT.issue(dns=("server.test",)), ROOT.issue(uris=("spiffe://td/a",))
OTHER = ROOT.issue(uris=("spiffe://td/b",))


def loaded(pem: str) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_PEM, pem.encode())


def der_of(one: crypto.X509) -> bytes:
    return one.to_cryptography().public_bytes(Encoding.DER)


def asked(ders: Ders, one: crypto.X509) -> bytes:
    lib.X509_up_ref(one._x509)
    return ders.of(one._x509)


def test_an_object_is_encoded_once_and_two_are_told_apart() -> None:
    ders = Ders()
    one, other = loaded(PEER.certificate), loaded(OTHER.certificate)
    first = asked(ders, one)
    assert first == der_of(one)
    assert asked(ders, other) == der_of(other)
    assert asked(ders, one) is first
    assert len(ders) == 2


def test_what_is_held_outlives_whoever_asked_and_keeps_its_address() -> None:
    ders = Ders()
    first = asked(ders, loaded(PEER.certificate))
    for _ in range(50):  # would be where the first one was
        assert asked(ders, loaded(OTHER.certificate)) != first
    assert len(ders) == 51


def test_of_too_many_the_first_is_forgotten() -> None:
    ders = Ders(most=2)
    some = [loaded(PEER.certificate) for _ in range(3)]
    first, second, third = (asked(ders, one) for one in some)
    assert len(ders) == 2
    assert asked(ders, some[2]) is third and asked(ders, some[1]) is second
    again = asked(ders, some[0])
    assert again == first and again is not first


def test_a_long_one_is_not_held() -> None:
    one = loaded(PEER.certificate)
    long = len(der_of(one))
    for longest, held in ((long, 1), (long - 1, 0)):
        ders = Ders(longest=longest)
        assert asked(ders, one) == asked(ders, one) == der_of(one)
        assert len(ders) == held


def test_connections_that_resume_a_kept_session_share_their_peers_certificate() -> None:
    common = model.CommonTls(certificates=(certificate(SERVER),), validation=validation(ROOT))
    at_server = server_context(model.DownstreamTls(common, True), {})
    common = model.CommonTls(certificates=(certificate(PEER),), validation=validation(ROOT))
    at_client = client_context(model.UpstreamTls(common), {})
    seen = []
    for at in range(3):
        session = at_server.session()
        session.want_no_ticket()  # and it is kept
        here, there = SessionSide(session), SessionSide(at_client.session())
        shake_hands(there, here)
        assert there.decrypt(here.taken() + here.encrypt(b"x")) == b"x"
        there.keep()
        assert session.resumed == (at > 0)
        assert at_server.verify(session, 0.0)
        seen.append(session.peer_der)
        there.over()
        here.over()
    assert seen[0] == seen[1] == der_of(loaded(PEER.certificate))
    assert seen[2] is seen[1]
