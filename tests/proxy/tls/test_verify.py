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
from tests.support.tls import SessionSide, certificate, shake_hands, uri

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
        there, here = (
            SessionSide(client(pair).session()),
            SessionSide(server(REVOKING).session()),
        )
        with pytest.raises(TlsFailed):
            shake_hands(there, here)
        with pytest.raises(TlsFailed, match=words) as caught:
            there.decrypt(here.taken())
        assert caught.value.by_alert


def test_a_name_that_is_refused_is_no_internal_error() -> None:
    there = SessionSide(client(RIGHT).session())
    trust = replace(TRUST, match_sans=(uri("spiffe://other/", "prefix"),))
    here = SessionSide(server(trust).session())
    with pytest.raises(TlsFailed):
        shake_hands(there, here)
    with pytest.raises(TlsFailed, match="certificate unknown") as caught:
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
)
def test_spiffe_validator(
    pair: KeyPair, validation: model.ValidationContext, statistic: str, why: str
) -> None:
    failure = outcome(pair, server(validation))
    found = ("", "") if failure is None else (failure.statistic, failure.why)
    assert found[0] == statistic
    assert why in found[1]


OURS, THEIRS = "spiffe://td/ns/x/sa/admin", "spiffe://other.td/x"
FORGED = (
    OTHER.issue(uris=(THEIRS, OURS)),
    OTHER.issue(uris=(THEIRS, "https://x.test/")),
    OTHER.issue(uris=(THEIRS,), dns=(OURS,)),
    OTHER.issue(uris=(THEIRS,), dns=(OURS.upper(),)),
    OTHER.issue(uris=(THEIRS + "/../../td",)),
    OTHER.issue(uris=("https://x.test/", THEIRS)),
)


@pytest.mark.parametrize("pair", FORGED, ids=range(len(FORGED)))
def test_who_has_one_identity_verified_cannot_show_another(pair: KeyPair) -> None:
    """X.509-SVID section 2: a policy looks at every name, only one was verified."""
    failure = outcome(pair, server(FEDERATED))
    assert failure is not None
    assert failure.statistic == "fail_verify_error"
    assert outcome(OTHER.issue(uris=(THEIRS,), dns=("x.test",)), server(FEDERATED)) is None


def test_an_identity_that_is_matched_is_the_only_one() -> None:
    """Also without trust domains, by what is configured and by what a request asks for."""
    two, text = ROOT.issue(uris=(DB, WEB)), ROOT.issue(dns=(WEB,))
    for pair in (two, text):
        failure = outcome(pair, server(replace(TRUST, match_sans=(uri(WEB),))))
        assert failure is not None
        assert failure.statistic == "fail_verify_san"
        shown = model.CommonTls(certificates=(certificate(pair),))
        trusting = model.CommonTls(validation=model.ValidationContext(source(ROOT.pem)))
        asking = client_context(model.UpstreamTls(trusting), {}).session(wanted_name=WEB)
        with pytest.raises(TlsFailed, match="SPIFFE id"):
            shake_hands(asking, server_context(model.DownstreamTls(shown), {}).session())
    assert outcome(two, server(model.ValidationContext(source(ROOT.pem)))) is None


@pytest.mark.parametrize("only_leaf", [True, False])
def test_what_is_revoked_is_refused_among_trust_domains_too(only_leaf: bool) -> None:
    lists = replace(
        FEDERATED, crl=source(ROOT.crl(RIGHT)), only_verify_leaf_crl=only_leaf, allow_expired=True
    )
    failure = outcome(RIGHT, server(lists))
    assert failure is not None
    assert f"the certificate is revoked: {named(RIGHT)}" in failure.why
    assert outcome(ROOT.issue(uris=(WEB,)), server(lists)) is None
    # The foreign authority has no list; it does not help that its name is ours.
    namesake = Authority()
    both = (FEDERATED.trust_domains[0], model.TrustDomain("other.td", source(namesake.pem)))
    for at, root in ((lists, OTHER), (replace(lists, trust_domains=both), namesake)):
        assert outcome(root.issue(uris=(THEIRS,)), server(at)) is None
    # Ours whose list is missing is refused, as it is without trust domains.
    mixed = model.TrustDomain("td", source(ROOT.pem + OTHER.pem))
    unlisted = outcome(OTHER.issue(uris=(WEB,)), server(replace(lists, trust_domains=(mixed,))))
    assert unlisted is not None
    assert "unable to get certificate CRL" in unlisted.why


def test_a_list_of_an_intermediate_authority_counts() -> None:
    """Its name is in no bundle: the peer brings its certificate."""
    below = Authority("issuing authority", above=ROOT)
    revoked, good = below.issue(uris=(WEB,)), below.issue(uris=(WEB,))
    lists = replace(FEDERATED, crl=source(below.crl(revoked)), only_verify_leaf_crl=True)
    chained = [KeyPair(one.certificate + below.pem, one.key) for one in (revoked, good)]
    failure = outcome(chained[0], server(lists))
    assert failure is not None
    assert "the certificate is revoked" in failure.why
    assert outcome(chained[1], server(lists)) is None
    assert outcome(RIGHT, server(lists)) is None  # the root has no list


def test_an_expired_root_that_is_tolerated_still_has_to_have_signed() -> None:
    old = Authority(lifetime=timedelta(minutes=-5))
    domains = (model.TrustDomain("td", source(old.pem)),)
    tolerant = server(model.ValidationContext(trust_domains=domains, allow_expired=True))
    assert outcome(old.issue(uris=(WEB,)), tolerant) is None
    failure = outcome(ROOT.issue(uris=(WEB,)), tolerant)  # of a root of the same name
    assert failure is not None
    assert "signature" in failure.why


# --------------------------------------------------------------------------- resumption


def resume(
    at_client: ClientTls, at_server: ServerTls, server_name: str = "", wanted_name: str = ""
) -> bool:
    """Whether a connection resumed an earlier one; its tickets are kept for the next."""
    there = SessionSide(at_client.session(server_name=server_name, wanted_name=wanted_name))
    here = SessionSide(at_server.session())
    shake_hands(there, here)
    assert there.decrypt(here.taken() + here.encrypt(b"x")) == b"x"
    there.keep()
    for one in (there, here):
        one.over()
    assert there.resumed == here.resumed
    return bool(here.resumed)


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


@pytest.mark.parametrize("validation", [TRUST, FEDERATED], ids=["one root", "federated"])
def test_an_expired_certificate_ends_its_sessions_too(validation: model.ValidationContext) -> None:
    at_client, at_server = client(RIGHT), server(validation)
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


def test_a_session_for_a_wanted_name_is_not_one_for_the_configured_names() -> None:
    picky = model.CommonTls(validation=replace(TRUST, match_sans=(uri(WEB),)))
    at_client, at_server = (
        client_context(model.UpstreamTls(picky), {}),
        server_context(model.DownstreamTls(model.CommonTls(certificates=(SERVER,))), {}),
    )
    resume(at_client, at_server, wanted_name=DB)
    there, here = at_client.session(), at_server.session()
    shake_hands(there, here)
    assert there.resumed
    assert not there.verify(0.0)
    assert "do not match" in there.refusal.why
