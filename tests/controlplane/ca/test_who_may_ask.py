"""Who gets a certificate and who does not, door to door over gRPC: each refusal has its reason in
the log, its counter, and changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc import aio

from certs.csr import make_csr
from certs.issuance import Issuance
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid
from controlplane.ca.limits import IssueLimits, Limit
from controlplane.ca.refuse import PUSHBACK
from controlplane.ca.token_review import TokenReviews
from tests.support.api_server import FakeApiServer, serving
from tests.support.ca import ADMIN_TOKEN, RunningCa, create_certificate, running_ca

CART = SpiffeId.workload("cluster.local", "shop", "cart")
CSR = make_csr(generate_key(), CART)
HOUR_S = 3600


@asynccontextmanager
async def kubernetes_ca(
    tmp_path: Path, fake: FakeApiServer, **options: Any
) -> AsyncIterator[tuple[RunningCa, aio.Channel]]:
    """A CA that asks `fake` about tokens, and a channel to it."""
    async with (
        serving(fake, tmp_path) as server,
        TokenReviews(server, ("istio-ca",), "cluster.local") as reviews,
        running_ca(tmp_path / "state", service_accounts=reviews, **options) as ca,
        ca.dial() as channel,
    ):
        yield ca, channel


async def refused(channel: aio.Channel, token: str, csr: bytes = CSR) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await create_certificate(channel, csr, token)
    return caught.value


def pushback_ms(error: aio.AioRpcError) -> int:
    trailers: Any = error.trailing_metadata()
    (found,) = (value for key, value in trailers if key == PUSHBACK)
    return int(found)


async def test_a_pods_token_buys_its_certificate_and_what_is_known_is_recorded(
    tmp_path: Path,
) -> None:
    fake = FakeApiServer()
    records: list[tuple[Issuance, SpiffeId, str, float]] = []
    metadata = Struct()
    metadata.update({"WorkloadName": "cart\nforged", "ClusterID": "c1", "Other": "x"})
    async with kubernetes_ca(tmp_path, fake, record=lambda *row: records.append(row)) as (ca, door):
        token = fake.token("shop", "cart", pod="cart-1", node="n1")
        pems = await create_certificate(door, CSR, token, metadata=metadata)
        leaf = chain_from_pem(pems[0].encode())
        assert check_svid(leaf) == CART
        ((recorded, identity, asked, _),) = records
        assert (recorded.serial, identity) == (leaf[0].serial_number, CART)
        assert asked.startswith("kubernetes pod=cart-1 pod_uid=u-cart-1 node=n1 credential=")
        assert " peer=ipv4:127.0.0.1:" in asked
        assert asked.endswith(" said: WorkloadName=cart?forged ClusterID=c1")
        assert ca.count("citadel_server_csr_total") == 1
        assert ca.count("citadel_server_success_cert_issuance_total") == 1


async def test_every_refusal_has_its_reason_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeApiServer()
    records: list[object] = []
    async with kubernetes_ca(tmp_path, fake, record=lambda *row: records.append(row)) as (ca, door):
        spent = ca.tokens.create("shop", "cart", HOUR_S, False, time.time()).token
        ca.tokens.spend(spent, b"another key", time.time())
        old = ca.tokens.create("shop", "cart", 1, False, time.time() - 100).token
        thief = make_csr(generate_key(), SpiffeId.workload("cluster.local", "bank", "vault"))
        good = fake.token("shop", "cart")
        cases = [
            ("", CSR, "UNAUTHENTICATED", "no_credentials"),
            ("guessed secret", CSR, "UNAUTHENTICATED", "token_unknown"),
            (old, CSR, "UNAUTHENTICATED", "token_expired"),
            (spent, CSR, "UNAUTHENTICATED", "token_used"),
            ("x.y.z", CSR, "UNAUTHENTICATED", "token_rejected"),
            (fake.token("shop", "cart", audiences=["v"]), CSR, "UNAUTHENTICATED", "token_audience"),
            (good, thief, "PERMISSION_DENIED", "csr_identity"),
            (good, b"garbage", "INVALID_ARGUMENT", "csr_malformed"),
            (good, b"x" * 20_000, "INVALID_ARGUMENT", "csr_oversized"),
            (ADMIN_TOKEN, CSR, "PERMISSION_DENIED", "no_workload"),
        ]
        for number, (token, csr, code, reason) in enumerate(cases, 1):
            error = await refused(door, token, csr)
            assert error.code().name == code, reason
            assert ca.count("weft_ca_refused_total", reason=reason) == 1
            assert f"code={code} reason={reason}: {error.details()}" in caplog.text
            assert not token or token not in caplog.text
            assert ca.count("citadel_server_csr_total") == number
        assert ca.count("citadel_server_authentication_failure_total") == 6
        assert records == []
        assert ca.count("citadel_server_success_cert_issuance_total") == 0


async def test_an_api_server_that_is_away_asks_for_patience(tmp_path: Path) -> None:
    fake = FakeApiServer(may_review=False)
    async with kubernetes_ca(tmp_path, fake) as (ca, door):
        error = await refused(door, fake.token("shop", "cart"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert pushback_ms(error) == 5000
        assert ca.count("citadel_server_authentication_failure_total") == 0
        fake.may_review = True
        await create_certificate(door, CSR, fake.token("shop", "cart"))


async def test_without_kubernetes_its_tokens_are_refused_with_advice(tmp_path: Path) -> None:
    async with running_ca(tmp_path) as ca, ca.dial() as door:
        error = await refused(door, FakeApiServer().token("shop", "cart"))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "--service-account-jwks" in (error.details() or "")
        assert ca.count("weft_ca_refused_total", reason="token_unsupported") == 1


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (IssueLimits(source=Limit(rate=0.25, burst=2)), "from 127.0.0.1"),
        (IssueLimits(identity=Limit(rate=0.25, burst=2)), f"for {CART}"),
        (IssueLimits(total=Limit(rate=0.25, burst=2)), "in all"),
    ],
)
async def test_too_many_are_told_when_to_come_again(
    tmp_path: Path, limits: IssueLimits, words: str
) -> None:
    tick = 1000.0
    async with running_ca(tmp_path, limits=limits, tick=lambda: tick) as ca, ca.dial() as door:
        token = ca.tokens.create("shop", "cart", HOUR_S, True, time.time()).token
        for _ in range(2):
            await create_certificate(door, CSR, token)
        error = await refused(door, token)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert words in (error.details() or "")
        assert "try again in 4 s" in (error.details() or "")
        assert pushback_ms(error) == 4000
        assert ca.count("weft_ca_refused_total", reason="rate_limited") == 1
        tick += 4.0
        await create_certificate(door, CSR, token)


async def test_what_is_refused_spends_no_token(tmp_path: Path) -> None:
    limits = IssueLimits(identity=Limit(rate=0.25, burst=1))
    async with running_ca(tmp_path, limits=limits, tick=lambda: 0.0) as ca, ca.dial() as door:
        reusable = ca.tokens.create("shop", "cart", HOUR_S, True, time.time()).token
        await create_certificate(door, CSR, reusable)
        token = ca.tokens.create("shop", "cart", HOUR_S, False, time.time()).token
        assert (await refused(door, token)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ca.tokens.spend(token, b"any key", time.time()) == CART


async def test_a_client_in_a_loop_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "weft.controlplane.ca")
    async with running_ca(tmp_path, tick=lambda: 0.0) as ca, ca.dial() as door:
        for _ in range(60):
            await refused(door, "unknown")
        assert ca.count("weft_ca_refused_total", reason="token_unknown") == 60
        assert caplog.text.count("refused certificate") == 50
