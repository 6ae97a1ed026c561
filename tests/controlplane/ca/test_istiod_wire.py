"""Certificates from a CSR service that is not ours: messages by hand, certificates by `openssl`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc import aio

from certs.csr import make_csr
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid
from controlplane.ca import foreign_issuer
from controlplane.ca.foreign_issuer import ForeignIssuer, ForeignOptions
from controlplane.ca.token_review import TokenReviews
from proxy.identity import Identity, IdentityOptions
from proxy.tasks import spawn
from tests.support import api_server
from tests.support.api_server import FakeApiServer
from tests.support.ca import RunningCa, create_certificate, running_ca
from tests.support.openssl_ca import (
    SERVICE_NAME,
    Answer,
    Asked,
    Context,
    CsrService,
    OpensslCa,
    serving,
    signing,
)
from tests.support.wait import eventually_async

CART = SpiffeId.workload("cluster.local", "shop", "cart")
NAMES = f"URI:{CART}"
CSR = make_csr(generate_key(), CART)
HOUR_S = 3600


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> OpensslCa:
    made = OpensslCa(tmp_path_factory.mktemp("openssl") / "ca")
    made.make_root("stranger")
    return made


@dataclass(frozen=True, slots=True)
class Mesh:
    """Our control plane, whose certificates come from `there`, and a workload's token."""

    near: RunningCa
    there: CsrService
    token: str


@pytest.fixture
async def mesh(ca: OpensslCa, tmp_path: Path) -> AsyncIterator[Mesh]:
    fake = FakeApiServer()
    token = fake.token("shop", "cart")
    roots = tmp_path / "roots.pem"
    roots.write_text(ca.root)
    async with (
        serving(ca, signing(ca, NAMES, token)) as there,
        api_server.serving(fake, tmp_path) as server,
        TokenReviews(server, ("istio-ca",), "cluster.local") as reviews,
        issuing(ForeignOptions(f"127.0.0.1:{there.port}", roots, SERVICE_NAME)) as issuer,
        running_ca(tmp_path / "near", service_accounts=reviews, issuer=issuer) as near,
    ):
        yield Mesh(near, there, token)


@asynccontextmanager
async def issuing(options: ForeignOptions) -> AsyncIterator[ForeignIssuer]:
    issuer = ForeignIssuer(options)
    try:
        yield issuer
    finally:
        await issuer.close()


async def test_what_goes_over_the_wire_and_comes_back(mesh: Mesh, ca: OpensslCa) -> None:
    async with mesh.near.dial() as door:
        pems = await create_certificate(door, CSR, mesh.token, validity_duration=HOUR_S)
    assert mesh.there.asked == [Asked(CSR.decode(), HOUR_S, f"Bearer {mesh.token}")]
    chain = chain_from_pem("".join(pems).encode())
    assert len(chain) == len(pems) == 3
    assert check_svid(chain) == CART
    assert chain[1:] == chain_from_pem((ca.intermediate + ca.root).encode())


Make = Callable[[OpensslCa, str], list[str]]


def in_one_element(ca: OpensslCa, csr: str) -> list[str]:
    """istio-csr's way."""
    return [ca.leaf(csr, NAMES) + ca.intermediate + ca.root]


def without_the_root(ca: OpensslCa, csr: str) -> list[str]:
    return [ca.leaf(csr, NAMES), ca.intermediate]


def with_all_roots(ca: OpensslCa, csr: str) -> list[str]:
    """istiod's way while a root is being replaced: all that are trusted stand at the end."""
    stranger = (ca.folder / "stranger.pem").read_text()
    return [ca.leaf(csr, NAMES), ca.intermediate, stranger, ca.root]


@pytest.mark.parametrize("make", [in_one_element, without_the_root, with_all_roots])
async def test_other_ways_to_answer(mesh: Mesh, ca: OpensslCa, make: Make) -> None:
    mesh.there.answer = made(ca, make)
    async with mesh.near.dial() as door:
        pems = await create_certificate(door, CSR, mesh.token)
    leaf, *above = chain_from_pem("".join(pems).encode())
    assert check_svid((leaf,)) == CART
    assert tuple(above) == chain_from_pem((ca.intermediate + ca.root).encode())


def made(ca: OpensslCa, make: Make) -> Answer:
    async def answer(asked: Asked, context: Context) -> list[str]:
        return await asyncio.to_thread(make, ca, asked.csr)

    return answer


def says(code: grpc.StatusCode, words: str) -> Answer:
    async def answer(asked: Asked, context: Context) -> list[str]:
        await context.abort(code, words)

    return answer


async def silence(asked: Asked, context: Context) -> list[str]:
    await asyncio.Event().wait()
    return []


LIES: dict[str, Make] = {
    "holds no PEM certificate": lambda ca, csr: ["garbage"],
    "is cut off": lambda ca, csr: [ca.leaf(csr, NAMES)[:-60]],
    "is corrupt": lambda ca, csr: [ca.leaf(csr, NAMES).replace("MII", "MIJ")],
    "for another key": lambda ca, csr: [ca.leaf(ca.csr(), NAMES), ca.intermediate, ca.root],
    "is for spiffe://cluster.local/ns/shop/sa/admin, not for": lambda ca, csr: [
        ca.leaf(csr, "URI:spiffe://cluster.local/ns/shop/sa/admin"), ca.intermediate
    ],
    "has 2 URI names": lambda ca, csr: [ca.leaf(csr, f"{NAMES},URI:spiffe://x/y"), ca.intermediate],
    "has 0 URI names": lambda ca, csr: [ca.leaf(csr, "DNS:cart"), ca.intermediate],
    "expired at": lambda ca, csr: [ca.leaf(csr, NAMES, days=-1), ca.intermediate, ca.root],
    "must not be a CA": lambda ca, csr: [ca.leaf(csr, NAMES, authority=True), ca.intermediate],
    "no trusted root": lambda ca, csr: [ca.leaf(csr, NAMES, issuer="stranger")],
    "its issuer 'CN=intermediate,O=cluster.local' is neither": lambda ca, csr: [
        ca.leaf(csr, NAMES), ca.root
    ],
}  # fmt: skip


async def test_what_is_refused_is_told_counted_and_changes_nothing(
    mesh: Mesh, ca: OpensslCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = grpc.StatusCode
    table: list[tuple[Answer, grpc.StatusCode, str, str]] = [
        (says(status.UNAUTHENTICATED, "request authenticate failure"), status.PERMISSION_DENIED,
         "issuer_refused", "says UNAUTHENTICATED: request authenticate failure"),
        (says(status.INVALID_ARGUMENT, "CSR signing error"), status.PERMISSION_DENIED,
         "issuer_refused", "says INVALID_ARGUMENT: CSR signing error"),
        (says(status.INTERNAL, "CSR signing error"), status.UNAVAILABLE,
         "issuer_unavailable", "says INTERNAL"),
        (says(status.UNIMPLEMENTED, ""), status.UNAVAILABLE,
         "issuer_unavailable", "says UNIMPLEMENTED"),
        (silence, status.UNAVAILABLE, "issuer_unavailable", "says DEADLINE_EXCEEDED"),
        *((made(ca, make), status.INTERNAL, "cannot_sign", words) for words, make in LIES.items()),
    ]  # fmt: skip
    async with mesh.near.dial() as door:
        for answer, code, reason, words in table:
            mesh.there.answer = answer
            monkeypatch.setattr(foreign_issuer, "TIMEOUT_S", 0.5 if answer is silence else 60.0)
            before = mesh.near.count("weft_ca_refused_total", reason=reason)
            with pytest.raises(aio.AioRpcError) as caught:
                await create_certificate(door, CSR, mesh.token)
            assert (caught.value.code(), words in str(caught.value.details())) == (code, True), (
                caught.value.details()
            )
            assert mesh.near.count("weft_ca_refused_total", reason=reason) == before + 1
    assert mesh.near.count("citadel_server_success_cert_issuance_total") == 0


async def test_a_workload_keeps_what_it_has_until_it_gets_a_better_one(
    mesh: Mesh, ca: OpensslCa, tmp_path: Path
) -> None:
    """By its mounted token, at our control plane, from the other CA."""
    near_root, token = tmp_path / "near.pem", tmp_path / "istio-token"
    near_root.write_bytes(mesh.near.root_pem)
    token.write_text(mesh.token)
    ahead_s = 0.0

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.01)

    identity = Identity(
        IdentityOptions(f"127.0.0.1:{mesh.near.port}", near_root, token),
        clock=lambda: time.time() + ahead_s,
        sleep=sleep,
    )
    running = spawn(identity.run(), "identity")
    await eventually_async(lambda: identity.svid, what="the first certificate")
    first = identity.svid
    assert first is not None
    right, mesh.there.answer = mesh.there.answer, made(ca, LIES["for another key"])
    ahead_s = 0.6 * 24 * HOUR_S
    await eventually_async(lambda: identity.failures >= 2, what="two refusals")
    assert identity.svid is first
    assert "for another key" in identity.last_error
    mesh.there.answer = right
    await eventually_async(lambda: identity.svid is not first, what="the next certificate")
    assert identity.svid is not None
    assert identity.svid.chain[1:] == chain_from_pem(ca.intermediate.encode())
    running.cancel()
    await asyncio.wait([running])
