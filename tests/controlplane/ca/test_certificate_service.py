"""CreateCertificate door to door: real gRPC, real TLS, tokens first and SVIDs for renewal."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc import aio

from certs.csr import make_csr
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_chain_order, check_svid, validity
from controlplane.ca.tokens import Refusal
from tests.support import pki
from tests.support.ca import ADMIN_TOKEN, RunningCa, create_certificate, running_ca

CART = SpiffeId.workload("cluster.local", "shop", "cart")
KEY = generate_key()
CSR = make_csr(KEY, CART)
HOUR_S = 3600


@pytest.fixture
async def ca(tmp_path: Path) -> AsyncIterator[RunningCa]:
    async with running_ca(tmp_path / "state") as running:
        yield running


@pytest.fixture
async def channel(ca: RunningCa) -> AsyncIterator[aio.Channel]:
    async with ca.dial() as dialled:
        yield dialled


@pytest.fixture
def token(ca: RunningCa) -> str:
    return ca.tokens.create("shop", "cart", HOUR_S, False, time.time()).token


async def refusal(
    channel: aio.Channel, csr: bytes = CSR, token: str = "", **fields: object
) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await create_certificate(channel, csr, token, **fields)
    return caught.value.code(), caught.value.details() or ""


def parsed(pems: list[str]) -> tuple[Certificate, ...]:
    """Exactly one certificate per element."""
    chains = [chain_from_pem(pem.encode()) for pem in pems]
    assert all(len(chain) == 1 for chain in chains)
    return tuple(chain[0] for chain in chains)


async def test_a_token_buys_a_chain_with_the_root_last(
    ca: RunningCa, channel: aio.Channel, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "weft.controlplane.ca"):
        chain = parsed(await create_certificate(channel, CSR, token))
    assert check_svid(chain) == CART
    check_chain_order(chain)
    assert chain[-1] == ca.stored.authority.certificate
    assert validity(chain[0])[1] == pytest.approx(time.time() + 24 * HOUR_S, abs=120)
    (line,) = (record.getMessage() for record in caplog.records if "issued" in record.message)
    assert f"serial={chain[0].serial_number:x} identity={CART} how=token" in line
    assert token not in caplog.text


async def test_a_csr_for_anothers_identity_is_refused_and_spends_nothing(
    ca: RunningCa, channel: aio.Channel, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin = SpiffeId.workload("cluster.local", "kube-system", "admin")
    code, details = await refusal(channel, make_csr(generate_key(), admin), token)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert str(admin) in details and str(CART) in details
    assert "reason=csr_identity" in caplog.text
    assert ca.count("weft_ca_refused_total", reason="csr_identity") == 1
    chain = parsed(await create_certificate(channel, CSR, token))
    assert check_svid(chain) == CART


async def test_the_svid_renews_over_mutual_tls(
    ca: RunningCa, channel: aio.Channel, token: str
) -> None:
    first = await create_certificate(channel, CSR, token)
    new_key = generate_key()
    async with ca.dial_mtls(KEY, first[0].encode()) as mutual:
        second = await create_certificate(mutual, make_csr(new_key, CART))
    assert check_svid(parsed(second)) == CART
    async with ca.dial_mtls(new_key, second[0].encode()) as mutual:
        assert check_svid(parsed(await create_certificate(mutual, CSR))) == CART


async def test_a_lost_response_can_be_retried_but_no_other_key_gets_in(
    channel: aio.Channel, token: str
) -> None:
    await create_certificate(channel, CSR, token)
    assert check_svid(parsed(await create_certificate(channel, CSR, token))) == CART
    thief = make_csr(generate_key(), CART)
    assert await refusal(channel, thief, token) == (
        grpc.StatusCode.UNAUTHENTICATED,
        Refusal.USED.value,
    )


async def test_a_bad_csr_does_not_spend_the_token(channel: aio.Channel, token: str) -> None:
    code, _ = await refusal(channel, b"garbage", token)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    await create_certificate(channel, CSR, token)


async def test_unproven_callers(ca: RunningCa, channel: aio.Channel) -> None:
    expired = ca.tokens.create("shop", "cart", 1, False, time.time() - 100).token
    for given, reason in (("", "no credentials"), ("wrong", "not known"), (expired, "expired")):
        code, details = await refusal(channel, token=given)
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert reason in details


async def test_the_unproven_learn_nothing_of_their_csr(channel: aio.Channel) -> None:
    assert (await refusal(channel, b"garbage"))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_the_administrator_is_no_workload(channel: aio.Channel) -> None:
    code, details = await refusal(channel, token=ADMIN_TOKEN)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "stands for no workload" in details


@pytest.mark.parametrize(
    ("csr", "reason"),
    [
        (b"", "not a PEM-encoded"),
        (b"garbage", "not a PEM-encoded"),
        (CSR[:-30], "not a PEM-encoded"),
        (b"x" * 17_000, "larger than 16384 bytes"),
        (b"x" * 3_000_000, "larger than 16384 bytes"),
    ],
    ids=["empty", "garbage", "cut", "large", "huge"],
)
async def test_bad_csrs(channel: aio.Channel, token: str, csr: bytes, reason: str) -> None:
    code, details = await refusal(channel, csr, token)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in details


@pytest.mark.parametrize(
    ("asked_s", "given_s"),
    [(0, 7200), (1, 60), (60, 60), (3600, 3600), (90_000, 14_400), (2**62, 14_400)],
)
async def test_validity_is_clamped(tmp_path: Path, asked_s: int, given_s: int) -> None:
    now = time.time()
    async with (
        running_ca(
            tmp_path, clock=lambda: now, default_ttl_s=2 * HOUR_S, max_ttl_s=4 * HOUR_S
        ) as ca,
        ca.dial() as channel,
    ):
        token = ca.tokens.create("shop", "cart", HOUR_S, False, now).token
        chain = await create_certificate(channel, CSR, token, validity_duration=asked_s)
    assert validity(parsed(chain)[0])[1] == int(now + given_s)


async def test_requests_that_mean_something_else(channel: aio.Channel, token: str) -> None:
    code, details = await refusal(channel, token=token, validity_duration=-1)
    assert (code, details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "validity_duration of -1 s is negative",
    )
    for name in ("ImpersonatedIdentity", "CertSigner"):
        metadata = Struct()
        metadata.update({name: "spiffe://cluster.local/ns/a/sa/b"})
        code, details = await refusal(channel, token=token, metadata=metadata)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert name in details
    metadata = Struct()
    metadata.update({"WorkloadName": "cart", "ClusterID": "local"})
    await create_certificate(channel, CSR, token, metadata=metadata)


async def test_mutual_tls_lets_no_stranger_in(ca: RunningCa) -> None:
    stranger = pki.Authority().issue(uris=(str(CART),))
    credentials = grpc.ssl_channel_credentials(
        ca.root_pem, stranger.key.encode(), stranger.certificate.encode()
    )
    async with (
        ca.dial_mtls() as without,
        aio.secure_channel(f"127.0.0.1:{ca.mtls_port}", credentials) as with_foreign,
    ):
        for channel in (without, with_foreign):
            code, _ = await refusal(channel)
            assert code is grpc.StatusCode.UNAVAILABLE


async def test_an_expired_svid_does_not_renew_on_its_old_connection(tmp_path: Path) -> None:
    skew_s = 0.0
    async with running_ca(tmp_path, clock=lambda: time.time() + skew_s) as ca:
        token = ca.tokens.create("shop", "cart", HOUR_S, False, time.time()).token
        async with ca.dial() as channel:
            chain = await create_certificate(channel, CSR, token, validity_duration=HOUR_S)
        async with ca.dial_mtls(KEY, chain[0].encode()) as mutual:
            await create_certificate(mutual, CSR)
            skew_s = HOUR_S + 1.0
            code, details = await refusal(mutual)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "expired at" in details


async def test_an_expired_root_is_our_fault_not_the_callers(tmp_path: Path) -> None:
    skew_s = 0.0
    async with running_ca(tmp_path, clock=lambda: time.time() + skew_s) as ca, ca.dial() as channel:
        await create_certificate(
            channel, CSR, ca.tokens.create("shop", "cart", 60, False, time.time()).token
        )
        skew_s = 11 * 365 * 86400.0
        token = ca.tokens.create("shop", "cart", 60, False, time.time() + skew_s).token
        code, details = await refusal(channel, token=token)
    assert code is grpc.StatusCode.INTERNAL
    assert "cannot sign" in details


async def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as ca, ca.dial() as channel:
        token = ca.tokens.create("shop", "cart", HOUR_S, False, time.time()).token
        first = await create_certificate(channel, CSR, token)
    async with running_ca(tmp_path) as ca, ca.dial() as channel:
        second = await create_certificate(channel, CSR, token)
        thief = make_csr(generate_key(), CART)
        assert (await refusal(channel, thief, token))[1] == Refusal.USED.value
    assert first[-1] == second[-1]
