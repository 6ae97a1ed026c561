"""Certificates from another CSR service: ours plays the foreign one, over real TLS."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from certs.authority import Authority
from certs.csr import make_csr, open_csr
from certs.errors import CertificateError
from certs.issuance import Issuance, issuance_of
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_svid
from controlplane.ca.foreign_issuer import ForeignIssuer, ForeignOptions
from controlplane.ca.issuer import IssuerRefusedError, IssuerUnavailableError, Order
from controlplane.ca.limits import IssueLimits, Limit
from controlplane.ca.server_credentials import SERVER_NAME
from controlplane.ca.token_review import TokenReviews
from tests.support.api_server import FakeApiServer, serving
from tests.support.ca import RunningCa, create_certificate, running_ca

NOW = 1_800_000_000.0
CART = SpiffeId.workload("cluster.local", "shop", "cart")
KEY = generate_key()
CSR = make_csr(KEY, CART)
HOUR_S = 3600


class Foreign:
    """A foreign CA that knows the tokens of a cluster, and what is known of it here."""

    def __init__(self, ca: RunningCa, fake: FakeApiServer, reviews: TokenReviews, root: Path):
        self.ca = ca
        self.fake = fake
        self.reviews = reviews
        self.root = root
        root.write_bytes(ca.root_pem)

    @property
    def options(self) -> ForeignOptions:
        return ForeignOptions(f"127.0.0.1:{self.ca.port}", self.root, SERVER_NAME)

    def order(self, **changes: object) -> Order:
        token = self.fake.token("shop", "cart")
        made = Order(open_csr(CSR).key, CART, HOUR_S, CSR.decode(), token)
        return replace(made, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def foreign_ca(tmp_path: Path, **options: Any) -> AsyncIterator[Foreign]:
    fake = FakeApiServer()
    async with (
        serving(fake, tmp_path) as server,
        TokenReviews(server, ("istio-ca",), "cluster.local") as reviews,
        running_ca(tmp_path / "foreign", service_accounts=reviews, **options) as ca,
    ):
        yield Foreign(ca, fake, reviews, tmp_path / "foreign-root.pem")


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Foreign]:
    async with foreign_ca(tmp_path) as made:
        yield made


@asynccontextmanager
async def issuing(options: ForeignOptions) -> AsyncIterator[ForeignIssuer]:
    issuer = ForeignIssuer(options)
    try:
        yield issuer
    finally:
        await issuer.close()


async def test_a_workload_gets_the_foreign_certificate_from_us(
    foreign: Foreign, tmp_path: Path
) -> None:
    async with (
        issuing(foreign.options) as issuer,
        running_ca(tmp_path / "near", service_accounts=foreign.reviews, issuer=issuer) as near,
        near.dial() as door,
    ):
        token = foreign.fake.token("shop", "cart")
        pems = await create_certificate(door, CSR, token, validity_duration=HOUR_S)
        chain = chain_from_pem("".join(pems).encode())
        assert check_svid(chain) == CART
        assert chain[-1] == foreign.ca.stored.authority.certificate
        assert near.stored.authority.certificate not in chain
        joined = near.tokens.create("shop", "cart", HOUR_S, True, 2e9).token
        with pytest.raises(aio.AioRpcError) as caught:
            await create_certificate(door, CSR, joined)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "service-account tokens alone" in (caught.value.details() or "")
        assert near.count("weft_ca_refused_total", reason="issuer_refused") == 1
        assert foreign.ca.count("citadel_server_csr_total") == 1


async def test_what_the_foreign_service_refuses_is_refused(foreign: Foreign) -> None:
    other = foreign.fake.token("shop", "cart", audiences=["vault"])
    async with issuing(foreign.options) as issuer:
        for order, words in (
            (foreign.order(bearer=other), "UNAUTHENTICATED"),
            (foreign.order(csr_pem="garbage"), "INVALID_ARGUMENT"),
            (foreign.order(bearer=foreign.fake.token("shop", "x")), "PERMISSION_DENIED"),
        ):
            with pytest.raises(IssuerRefusedError, match=words):
                await issuer.issue(order, NOW)


async def test_a_foreign_service_that_is_busy_or_away(tmp_path: Path) -> None:
    one = IssueLimits(source=Limit(rate=0.001, burst=1))
    async with foreign_ca(tmp_path, limits=one) as foreign:
        async with issuing(foreign.options) as issuer:
            now = foreign.ca.stored.state.since + 1
            await issuer.issue(foreign.order(), now)
            with pytest.raises(IssuerUnavailableError, match="RESOURCE_EXHAUSTED"):
                await issuer.issue(foreign.order(), now)
        async with issuing(replace(foreign.options, address="127.0.0.1:1")) as issuer:
            with pytest.raises(IssuerUnavailableError, match="UNAVAILABLE"):
                await issuer.issue(foreign.order(), now)


async def test_a_service_of_other_roots_or_another_name_is_not_asked(
    foreign: Foreign, tmp_path: Path
) -> None:
    path = tmp_path / "other.pem"
    path.write_bytes(Authority.create("cluster.local", NOW).bundle.to_pem())
    for options in (
        replace(foreign.options, roots=path),
        replace(foreign.options, server_name="istiod.istio-system.svc"),
    ):
        async with issuing(options) as issuer:
            with pytest.raises(IssuerUnavailableError, match="UNAVAILABLE"):
                await issuer.issue(foreign.order(), NOW)
    assert foreign.ca.count("citadel_server_csr_total") == 0


AUTHORITY = Authority.create("cluster.local", NOW)


class Lying:
    """An issuer that answers with something else than was ordered."""

    def __init__(self, chain: tuple[Certificate, ...]) -> None:
        self._chain = chain

    async def issue(self, order: Order, now: float) -> Issuance:
        return issuance_of(self._chain)


def signed(
    authority: Authority, identity: SpiffeId, *, own_key: bool = True
) -> tuple[Certificate, ...]:
    key = KEY if own_key else generate_key()
    return authority.sign(key.public_key(), identity, HOUR_S, NOW)


@pytest.mark.parametrize(
    ("chain", "later_s", "words"),
    [
        (signed(AUTHORITY, CART, own_key=False), 0, "for another key"),
        (signed(AUTHORITY, SpiffeId("cluster.local", "/admin")), 0, "is for spiffe://"),
        (signed(Authority.create("cluster.local", NOW), CART), 0, "no trusted root"),
        (signed(AUTHORITY, CART), 2 * HOUR_S, "expired"),
    ],
)
async def test_answers_that_are_not_what_was_ordered(
    tmp_path: Path, chain: tuple[Certificate, ...], later_s: float, words: str
) -> None:
    async with foreign_ca(tmp_path, issuer=Lying(chain)) as foreign:
        roots = foreign.ca.root_pem + AUTHORITY.bundle.to_pem()
        foreign.root.write_bytes(roots)
        async with issuing(foreign.options) as issuer:
            with pytest.raises(CertificateError, match=words):
                await issuer.issue(foreign.order(), NOW + later_s)


async def test_the_roots_are_read_again(foreign: Foreign) -> None:
    async with issuing(foreign.options) as issuer:
        assert not await issuer.refresh()
        old = foreign.ca.root_pem
        replace_file(foreign.root, b"half")
        assert not await issuer.refresh()
        assert issuer.bundle.to_pem() == old
        both = old + AUTHORITY.bundle.to_pem()
        replace_file(foreign.root, both)
        assert await issuer.refresh()
        assert issuer.bundle.to_pem() == both
        await issuer.issue(foreign.order(), foreign.ca.stored.state.since + 1)


def replace_file(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)


def test_without_roots_there_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="No such file"):
        ForeignIssuer(ForeignOptions("127.0.0.1:1", tmp_path / "absent"))
