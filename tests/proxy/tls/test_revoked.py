"""Connections end whose peer's certificate was revoked after the handshake, and no others."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from proxy.config import model
from proxy.tls.contexts import ServerTls, client_context, server_context
from proxy.tls.failure import TlsFailed
from proxy.tls.handshake import Handshake
from proxy.tls.originate import originate
from proxy.tls.revoked import Revoked, end_revoked, put_in_force
from proxy.tls.transport import TlsTransport, open_transports
from tests.support.pki import Authority, KeyPair
from tests.support.tls import accepting, certificate, connected_to, handshake, validation

ROOT, OTHER = Authority("root"), Authority("other")
SERVER = ROOT.issue(dns=("server.test",))
KNOWN = [(ROOT.pem + OTHER.pem).encode()]
CART, SHOP = (ROOT.issue(uris=(f"spiffe://td/{name}",)) for name in ("cart", "shop"))


class End(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def server_tls() -> ServerTls:
    common = model.CommonTls(certificates=(certificate(SERVER),), validation=validation(ROOT))
    return server_context(model.DownstreamTls(common, True), {})


class Mesh:
    """A server, and the ends of who has connected to it: his own, and the server's."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.served: asyncio.Queue[End] = asyncio.Queue()

    async def start(self) -> None:
        loop, tls = asyncio.get_running_loop(), server_tls()

        def accepted(transport: TlsTransport) -> asyncio.Protocol:
            self.served.put_nowait(end := End())
            return end

        def accept(sock: socket.socket) -> None:
            Handshake(loop, sock, tls.session(), accepted, lambda _: None, 1.0)

        self.port = self.stack.enter_context(accepting(accept))

    async def join(self, pair: KeyPair) -> tuple[End, End]:
        common = model.CommonTls(certificates=(certificate(pair),), validation=validation(ROOT))
        tls = client_context(model.UpstreamTls(common), {})
        end = End()

        await originate(tls.session(), end, lambda: connected_to(self.port), 1.0)
        served = await asyncio.wait_for(self.served.get(), 20)
        for one in (end, served):
            self.stack.callback(one.transport.close)
        return end, served


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        made = Mesh(stack)
        await made.start()
        yield made


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(open_transports())
    yield
    assert set(open_transports()) <= before | {one for one in open_transports() if one.is_closing()}


async def test_whoever_is_revoked_is_cut_off(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    cart, served_cart = await mesh.join(CART)
    shop, served_shop = await mesh.join(SHOP)
    with caplog.at_level(logging.WARNING):
        assert await end_revoked(Revoked([ROOT.crl(CART).encode()], KNOWN)) == 1
    await asyncio.wait_for(served_cart.lost.wait(), 20)
    await asyncio.wait_for(cart.lost.wait(), 20)
    assert not shop.lost.is_set()
    assert not served_shop.lost.is_set()
    assert "1 connections ended" in caplog.text
    assert await end_revoked(Revoked([ROOT.crl(CART).encode()], KNOWN)) == 0


async def test_a_server_that_is_revoked_is_left_too(mesh: Mesh) -> None:
    ends = [await mesh.join(pair) for pair in (CART, SHOP)]
    assert await end_revoked(Revoked([ROOT.crl(SERVER).encode()], KNOWN)) == 2
    for client, _ in ends:
        await asyncio.wait_for(client.lost.wait(), 20)


async def test_a_list_of_another_issuer_is_for_its_own(mesh: Mesh) -> None:
    _, served = await mesh.join(CART)
    assert await end_revoked(Revoked([OTHER.crl(CART).encode()], KNOWN)) == 0
    assert not served.lost.is_set()


async def test_an_empty_list_ends_nothing(mesh: Mesh) -> None:
    await mesh.join(CART)
    empty = Revoked([ROOT.crl().encode(), b""])
    assert not empty
    assert await end_revoked(empty) == 0


async def test_an_identity_is_refused_whichever_certificate_it_shows(mesh: Mesh) -> None:
    other = ROOT.issue(uris=("spiffe://td/cart",))
    for pair in (CART, other):
        _, served = await mesh.join(pair)
        _, served_shop = await mesh.join(SHOP)
        revoked = Revoked((), identities=["spiffe://td/cart"])
        assert revoked
        assert await end_revoked(revoked) == 1
        await asyncio.wait_for(served.lost.wait(), 20)
        assert not served_shop.lost.is_set()


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("spiffe://td/cart", True),
        ("SPIFFE://TD/cart", True),
        ("spiffe://td/Cart", False),
        ("spiffe://td/cart2", False),
        ("https://td/cart", False),
    ],
)
def test_trust_domains_know_no_case_and_paths_do(name: str, refused: bool) -> None:
    der = ssl.PEM_cert_to_DER_cert(ROOT.issue(uris=(name,)).certificate)
    assert Revoked((), identities=["spiffe://td/cart"]).has(der) == refused


def test_a_list_that_its_issuer_has_not_signed_is_not_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anybody may name our root in a CRL for a host of his own."""
    cart = ssl.PEM_cert_to_DER_cert(CART.certificate)
    forged = Authority("root")
    assert Revoked([ROOT.crl(CART).encode()], [ROOT.pem.encode()]).has(cart)
    assert caplog.text == ""
    assert not Revoked([forged.crl(CART).encode()], [ROOT.pem.encode()])
    assert "which it names, has not signed it" in caplog.text
    # Not even with a root that was forged, too: that one has not signed our certificate.
    both = [ROOT.pem.encode(), forged.pem.encode()]
    assert not Revoked([forged.crl(CART).encode()], both).has(cart)
    assert Revoked([ROOT.crl(CART).encode()], both).has(cart)


def test_a_list_of_an_intermediate_counts_by_what_the_peer_has_shown() -> None:
    below = Authority("below", above=ROOT)
    leaf = below.issue(uris=("spiffe://td/a",))
    der, shown = map(ssl.PEM_cert_to_DER_cert, (leaf.certificate, below.pem))
    forged = Authority("below")
    for revoked in (Revoked([below.crl(leaf).encode()]), Revoked([forged.crl(leaf).encode()])):
        assert not revoked.has(der)
    assert Revoked([below.crl(leaf).encode()]).has(der, lambda: [shown])
    assert not Revoked([forged.crl(leaf).encode()]).has(der, lambda: [shown])
    by_chain = Revoked([ROOT.crl(below).encode()], [ROOT.pem.encode()])
    assert not by_chain.has(der, lambda: [shown])
    assert by_chain.has_chain(der, lambda: [shown])
    # `only_verify_leaf_cert_crl`, unless another context wants whole chains looked at.
    text = [ROOT.crl(below).encode()]
    of_leaves = Revoked((), [ROOT.pem.encode()], of_leaves=text)
    assert not of_leaves.has_chain(der, lambda: [shown])
    assert of_leaves.has(shown)
    both = Revoked(text, [ROOT.pem.encode()], of_leaves=text)
    assert both.has_chain(der, lambda: [shown])


def test_several_lists_in_one_text() -> None:
    both = Revoked([(OTHER.crl(SHOP) + ROOT.crl(CART)).encode()], KNOWN)
    cart, shop = (ssl.PEM_cert_to_DER_cert(one.certificate) for one in (CART, SHOP))
    assert both.has(cart)
    assert not both.has(shop)


@pytest.fixture
def nothing_revoked_afterwards() -> Iterator[None]:
    yield
    put_in_force(Revoked(()))


@pytest.mark.usefixtures("nothing_revoked_afterwards")
async def test_a_handshake_that_began_before_the_list_does_not_end_well(mesh: Mesh) -> None:
    """Its context has no list, and the one pass over what was open is over."""
    common = model.CommonTls(certificates=(certificate(CART),), validation=validation(ROOT))
    here = server_tls()
    there = client_context(model.UpstreamTls(common), {})
    ends = handshake(there, here)
    put_in_force(Revoked([ROOT.crl(CART).encode()], KNOWN))
    assert not here.verify(ends[1].session, 0.0)
    assert ends[1].refusal.statistic == "fail_verify_error"
    assert "the certificate is revoked: spiffe://td/cart" in ends[1].refusal.why
    assert ends[0].verify(0.0)  # the server is not revoked
    put_in_force(Revoked([ROOT.crl(SERVER).encode()], KNOWN))
    assert here.verify(ends[1].session, 0.0)
    with pytest.raises(TlsFailed, match=r"is revoked: server\.test"):
        await mesh.join(SHOP)


@pytest.mark.usefixtures("nothing_revoked_afterwards")
def test_nor_one_of_an_authority_that_is_revoked() -> None:
    below = Authority("below", above=ROOT)
    leaf = below.issue(uris=("spiffe://td/a",))
    pair = KeyPair(leaf.certificate + below.pem, leaf.key)
    here = server_tls()
    common = model.CommonTls(certificates=(certificate(pair),), validation=validation(ROOT))
    ends = handshake(client_context(model.UpstreamTls(common), {}), here)
    assert here.verify(ends[1].session, 0.0)
    put_in_force(Revoked([ROOT.crl(below).encode()], KNOWN))
    assert not here.verify(ends[1].session, 0.0)
    assert "an issuer of the certificate is revoked: spiffe://td/a" in ends[1].refusal.why
