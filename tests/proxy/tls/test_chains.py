"""Whoever resumes a session is known by all that it has shown in the first handshake."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from proxy.config import model
from proxy.tls.chains import MAX_KEPT, Chains
from proxy.tls.contexts import ClientTls, ServerTls, client_context, server_context
from proxy.tls.revoked import Revoked, put_in_force
from proxy.tls.session import Session
from tests.support.pki import Authority, KeyPair
from tests.support.tls import SessionSide, certificate, shake_hands, validation

ROOT = Authority()
BELOW = Authority("issuing authority", above=ROOT)
LEAF = BELOW.issue(uris=("spiffe://td/cart",))
CHAINED = KeyPair(LEAF.certificate + BELOW.pem, LEAF.key)
DER, BELOW_DER = map(ssl.PEM_cert_to_DER_cert, (LEAF.certificate, BELOW.pem))


@pytest.fixture(autouse=True)
def nothing_revoked() -> Iterator[None]:
    yield
    put_in_force(Revoked(()))


def ends() -> tuple[ClientTls, ServerTls]:
    ours = model.CommonTls(certificates=(certificate(CHAINED),), validation=validation(ROOT))
    return client_context(model.UpstreamTls(ours), {}), server_context(
        model.DownstreamTls(ours, True), {}
    )


def connected(at_client: ClientTls, at_server: ServerTls) -> tuple[Session, bool]:
    """The server's session, and whether it holds."""
    there, here = SessionSide(at_client.session()), SessionSide(at_server.session())
    shake_hands(there, here)
    assert there.decrypt(here.taken() + here.encrypt(b"x")) == b"x"
    there.keep()
    holds = at_server.verify(here.session, 0.0)
    for one in (there, here):
        one.over()
    return here.session, holds


def test_a_resumed_session_has_the_chain_of_the_first_one() -> None:
    at_client, at_server = ends()
    first, _ = connected(at_client, at_server)
    assert first.peer_chain() == (BELOW_DER,) and not first.resumed
    second, holds = connected(at_client, at_server)
    assert second.resumed and holds
    assert second.peer_der == DER
    assert second.peer_chain() == (BELOW_DER,)


def test_an_authority_that_was_revoked_since_ends_what_is_resumed() -> None:
    at_client, at_server = ends()
    assert connected(at_client, at_server)[1]
    put_in_force(Revoked([ROOT.crl(BELOW).encode()], [ROOT.pem.encode()]))
    resumed, holds = connected(at_client, at_server)
    assert resumed.resumed
    assert not holds
    assert "an issuer of the certificate is revoked" in resumed.refusal.why


def test_of_too_many_the_first_is_forgotten() -> None:
    chains = Chains()
    for number in range(MAX_KEPT + 1):
        chains.remember(b"%d" % number, (b"issuer",))
    assert chains.of(b"0") == ()
    assert chains.of(b"1") == chains.of(b"%d" % MAX_KEPT) == (b"issuer",)
    assert b"1" in chains and b"0" not in chains
