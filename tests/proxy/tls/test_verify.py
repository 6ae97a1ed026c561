"""What a peer's certificate is refused for, in Envoy's statistics and in words for people."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.config import model
from proxy.tls.contexts import ClientTls, ServerTls, client_context, server_context
from proxy.tls.failure import TlsFailed
from tests.support.pki import Authority, KeyPair
from tests.support.tls import certificate, shake_hands, uri

ROOT, OTHER = Authority(), Authority("another root")
WEB, DB = "spiffe://td/ns/default/sa/web", "spiffe://td/ns/default/sa/db"
RIGHT = ROOT.issue(uris=(WEB,))
EXPIRED = ROOT.issue(uris=(WEB,), lifetime=timedelta(minutes=-5))
EARLY = ROOT.issue(uris=(WEB,), lifetime=timedelta(hours=3), begins_in=timedelta(hours=1))
SERVER = certificate(ROOT.issue(uris=(DB,)))


def source(text: str) -> model.DataSource:
    return model.DataSource(text.encode())


TRUST = model.ValidationContext(source(ROOT.pem), (uri("spiffe://td/", "prefix"),))


def server(validation: model.ValidationContext = TRUST, **fields: Any) -> ServerTls:
    common = model.CommonTls(certificates=(SERVER,), validation=validation)
    return server_context(model.DownstreamTls(common, True, **fields), {})


def client(pair: KeyPair | None, **fields: Any) -> ClientTls:
    shown = () if pair is None else (certificate(pair),)
    return client_context(model.UpstreamTls(model.CommonTls(certificates=shown), **fields), {})


def outcome(pair: KeyPair | None, at: ServerTls) -> TlsFailed | None:
    try:
        shake_hands(client(pair).session(), at.session())
    except TlsFailed as failure:
        return failure
    return None


def serial(pair: KeyPair) -> str:
    number = x509.load_pem_x509_certificate(pair.certificate.encode()).serial_number
    text = f"{number:x}"
    return text.zfill(len(text) + len(text) % 2)


def named(pair: KeyPair) -> str:
    return f"{WEB}, serial {serial(pair)}, issued by CN=test root"


REVOKING = replace(TRUST, crl=source(ROOT.crl(RIGHT)))


@pytest.mark.parametrize(
    ("pair", "validation", "statistic", "why"),
    [
        (RIGHT, TRUST, "", ""),
        (None, TRUST, "fail_verify_no_cert", "the peer has shown no certificate"),
        (EXPIRED, TRUST, "fail_verify_error", "the certificate expired on "),
        (EXPIRED, TRUST, "fail_verify_error", named(EXPIRED)),
        (EXPIRED, replace(TRUST, allow_expired=True), "", ""),
        (EARLY, TRUST, "fail_verify_error", "the certificate is not valid before "),
        (EARLY, replace(TRUST, allow_expired=True), "", ""),
        (RIGHT, REVOKING, "fail_verify_error", f"the certificate is revoked: {named(RIGHT)}"),
        (ROOT.issue(uris=(WEB,)), REVOKING, "", ""),
        (
            OTHER.issue(uris=(WEB,)),
            TRUST,
            "fail_verify_error",
            "the certificate is not trusted (unable to get local issuer certificate): ",
        ),
        (
            ROOT.issue(uris=("spiffe://elsewhere/x",)),
            TRUST,
            "fail_verify_san",
            "the certificate's names do not match: spiffe://elsewhere/x; "
            "wanted prefix spiffe://td/",
        ),
    ],
    ids=str,
)
def test_reasons(
    pair: KeyPair | None, validation: model.ValidationContext, statistic: str, why: str
) -> None:
    failure = outcome(pair, server(validation))
    found = ("", "") if failure is None else (failure.statistic, failure.why)
    assert found[0] == statistic
    assert why in found[1]


def test_the_peer_is_told_by_an_alert() -> None:
    for pair, words in ((EXPIRED, "certificate expired"), (RIGHT, "certificate revoked")):
        there, here = client(pair).session(), server(REVOKING).session()
        with pytest.raises(TlsFailed):
            shake_hands(there, here)
        with pytest.raises(TlsFailed, match=words) as caught:
            there.decrypt(here.taken())
        assert caught.value.by_alert


def digests(pair: KeyPair) -> tuple[bytes, bytes]:
    """SHA-256 of the certificate and of its public key."""
    parsed = x509.load_pem_x509_certificate(pair.certificate.encode())
    key = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = ssl.PEM_cert_to_DER_cert(pair.certificate)
    return hashlib.sha256(der).digest(), hashlib.sha256(key).digest()


def test_pinned_certificates_and_keys() -> None:
    """One of either list is enough; without trusted_ca nothing else counts."""
    stranger = OTHER.issue(uris=(WEB,))
    for pinned in (RIGHT, stranger):
        whole, key = digests(pinned)
        for pin in ({"hashes": (whole,)}, {"spkis": (key,)}, {"hashes": (b"x",), "spkis": (key,)}):
            at = server(model.ValidationContext(**pin))  # type: ignore[arg-type]
            assert outcome(pinned, at) is None
            refusal = outcome(stranger if pinned is RIGHT else RIGHT, at)
            assert refusal is not None
            assert refusal.statistic == "fail_verify_cert_hash"
    whole, _ = digests(stranger)
    strict = outcome(stranger, server(replace(TRUST, hashes=(whole,))))
    assert strict is not None
    assert strict.statistic == "fail_verify_error"


def test_whom_nobody_trusts_is_let_in_if_told_so_but_counted() -> None:
    at = server(replace(TRUST, accept_untrusted=True)).session()
    shake_hands(client(OTHER.issue(uris=(WEB,))).session(), at)
    assert at.refusal.statistic == "fail_verify_error"


def test_crls_may_stand_among_the_roots() -> None:
    both = model.ValidationContext(source(ROOT.pem + ROOT.crl(RIGHT)))
    refusal = outcome(RIGHT, server(both))
    assert refusal is not None
    assert "is revoked" in refusal.why


# --------------------------------------------------------------------------- SPIFFE

FEDERATED = model.ValidationContext(
    trust_domains=(
        model.TrustDomain("td", source(ROOT.pem)),
        model.TrustDomain("other.td", source(OTHER.pem)),
    )
)


@pytest.mark.parametrize(
    ("pair", "validation", "statistic", "why"),
    [
        (RIGHT, FEDERATED, "", ""),
        (OTHER.issue(uris=("spiffe://other.td/x",)), FEDERATED, "", ""),
        (
            OTHER.issue(uris=(WEB,)),  # a root of another trust domain
            FEDERATED,
            "fail_verify_error",
            "the certificate is not trusted (unable to get local issuer certificate)",
        ),
        (
            ROOT.issue(uris=("spiffe://third.td/x",)),
            FEDERATED,
            "fail_verify_error",
            "no bundle for the trust domain of spiffe://third.td/x; there is td, other.td",
        ),
        (ROOT.issue(dns=("x.test",)), FEDERATED, "fail_verify_error", "no SPIFFE id among"),
        (EXPIRED, FEDERATED, "fail_verify_error", "the certificate expired on"),
        (EXPIRED, replace(FEDERATED, allow_expired=True), "", ""),
        (
            RIGHT,
            replace(FEDERATED, match_sans=(uri(DB),)),
            "fail_verify_san",
            f"names do not match: {WEB}; wanted exact {DB}",
        ),
    ],
    ids=str,
)
def test_spiffe_validator(
    pair: KeyPair, validation: model.ValidationContext, statistic: str, why: str
) -> None:
    failure = outcome(pair, server(validation))
    found = ("", "") if failure is None else (failure.statistic, failure.why)
    assert found[0] == statistic
    assert why in found[1]


# --------------------------------------------------------------------------- resumption


def resume(at_client: ClientTls, at_server: ServerTls, server_name: str = "") -> bool:
    """Whether a connection resumed an earlier one; its tickets are kept for the next."""
    there, here = at_client.session(server_name=server_name), at_server.session()
    shake_hands(there, here)
    assert there.decrypt(here.taken() + here.encrypt(b"x")) == b"x"
    there.keep()
    assert there.resumed == here.resumed
    return here.resumed


def test_sessions_are_resumed_by_the_same_name_only() -> None:
    at_client, at_server = client(RIGHT), server()
    assert not resume(at_client, at_server, "a.test")
    assert resume(at_client, at_server, "a.test")
    assert resume(at_client, at_server, "a.test")  # each has brought a ticket for the next
    assert not resume(at_client, at_server, "b.test")
    # Rotation: another context, and tickets of the last one are worth nothing.
    assert not resume(at_client, server(), "b.test")


def test_no_sessions_unless_wanted() -> None:
    at_client = client(RIGHT, max_session_keys=0)
    assert [resume(at_client, at) for at in [server()] * 2] == [False, False]
    closed = server(stateless_resumption=False, stateful_resumption=False)
    again = client(RIGHT)
    assert [resume(again, closed) for _ in range(2)] == [False, False]


def test_an_expired_certificate_ends_its_sessions_too() -> None:
    at_client, at_server = client(RIGHT), server()
    resume(at_client, at_server)
    there, here = at_client.session(), at_server.session()
    shake_hands(there, here)
    assert here.resumed
    assert at_server.verify(here, 0.0)
    assert not at_server.verify(here, 2e10)
    assert "expired on" in here.refusal.why


def test_a_resumed_session_is_for_the_wanted_name_too() -> None:
    trusting = model.CommonTls(validation=model.ValidationContext(source(ROOT.pem)))
    at_client, at_server = (
        client_context(model.UpstreamTls(trusting), {}),
        server_context(model.DownstreamTls(model.CommonTls(certificates=(SERVER,))), {}),
    )
    resume(at_client, at_server)
    there, here = at_client.session(wanted_name=WEB), at_server.session()
    shake_hands(there, here)
    assert there.resumed
    assert not there.verify(0.0)
    assert there.refusal.why == f"the certificate is not for {WEB}, but for {DB}"
