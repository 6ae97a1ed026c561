"""Renewal on a connection that is there already, and when the CA wants to be left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from certs.csr import make_csr
from certs.issuance import Issuance
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem
from controlplane.ca.limits import IssueLimits, Limit
from controlplane.ca.server_credentials import SERVER_NAME
from protos.gen.istio.ca_pb2 import IstioCertificateRequest
from proxy.certificate_call import NotNowError
from proxy.http.grpc import RpcError
from proxy.identity import Identity, IdentityOptions
from proxy.rpc.call import Call
from proxy.rpc.connection import open_call
from proxy.rpc.credentials import client_tls
from proxy.tasks import spawn
from tests.support.ca import RunningCa, running_ca
from tests.support.wait import eventually_async

START = time.time()  # TLS looks at the real clock
TTL_S = 3600
REFUSED = "weft_ca_refused_total"
METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@dataclass
class World:
    """A CA, and a workload's identity; `asked` is what the CA notes of each certificate."""

    ca: RunningCa
    identity: Identity
    pauses: list[float]
    asked: list[str] = field(default_factory=list)

    async def first_certificate(self) -> None:
        await eventually_async(lambda: len(self.asked) == 1, what="the first certificate")
        await eventually_async(lambda: self.pauses, what="the wait for half life")

    def peers(self) -> list[str]:
        return [words.partition("peer=")[2] for words in self.asked]


@asynccontextmanager
async def world(tmp_path: Path, limits: IssueLimits, jitter: float = 0.0) -> AsyncIterator[World]:
    """Time passes when the identity sleeps, and only then: half life comes soon."""

    def record(issuance: Issuance, identity: SpiffeId, asked: str, now: float) -> None:
        made.asked.append(asked)

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.001)
        pauses.append(seconds)

    def clock() -> float:
        return START + sum(pauses)

    pauses: list[float] = []
    async with running_ca(
        tmp_path / "ca", clock=clock, started_at=START, tick=clock, limits=limits,
        record=record, default_ttl_s=TTL_S,
    ) as ca:  # fmt: skip
        root, token = tmp_path / "root.pem", tmp_path / "token"
        root.write_bytes(ca.root_pem)
        token.write_text(ca.tokens.create("shop", "cart", 7200, True, START).token)
        token.chmod(0o600)
        mtls = f"127.0.0.1:{ca.mtls_port}"
        options = IdentityOptions(f"127.0.0.1:{ca.port}", root, token, ca_mtls_address=mtls)
        identity = Identity(options, clock=clock, sleep=sleep, jitter=lambda: jitter)
        made = World(ca, identity, pauses)
        yield made


async def connected(ca: RunningCa, identity: Identity) -> Call:
    """A connection that shows the certificate, for a call that is never answered."""
    assert identity.svid is not None
    address = f"127.0.0.1:{ca.mtls_port}"
    own = chain_to_pem(identity.svid.chain), key_to_pem(identity.svid.key)
    tls = client_tls(address, ca.root_pem, SERVER_NAME, *own)
    return await open_call(address, METHOD, tls=tls, authority=SERVER_NAME)


@pytest.mark.parametrize("broken", [False, True])
async def test_a_renewal_rides_on_a_connection_that_is_there(tmp_path: Path, broken: bool) -> None:
    async with world(tmp_path, IssueLimits()) as made:
        running = spawn(made.identity.run(), "identity")
        await made.first_certificate()
        carrier = await connected(made.ca, made.identity)
        if broken:
            carrier.close()
        asked_for: list[tuple[str, str]] = []

        def ride(address: str, path: str) -> Call | None:
            asked_for.append((address, path))
            return carrier.beside(path) if not broken else riderless

        riderless = Call(carrier._connection, 99, 10)
        riderless.over(RpcError("UNAVAILABLE", "the connection broke"))
        made.identity.ride = ride
        await eventually_async(lambda: len(made.asked) >= 2, what="the renewal")
        running.cancel()
        await asyncio.wait([running])
        assert asked_for[0] == (f"127.0.0.1:{made.ca.mtls_port}", METHOD)
        assert made.asked[1].startswith("svid ")
        if not broken:
            await by_hand(carrier)
            assert made.peers()[1] == made.peers()[2]
        carrier.close()


async def by_hand(carrier: Call) -> None:
    """A certificate on the same connection, of which the CA notes where it came from."""
    request = IstioCertificateRequest(csr=make_csr(generate_key()).decode())
    await carrier.send(request.SerializeToString(), end=True)
    assert await carrier.receive()


@pytest.mark.parametrize("jitter", [0.0, 0.5])
async def test_the_ca_is_left_alone_for_as_long_as_it_says(tmp_path: Path, jitter: float) -> None:
    limits = IssueLimits(identity=Limit(rate=1 / 1740, burst=1))
    async with world(tmp_path, limits, jitter) as made:
        running = spawn(made.identity.run(), "identity")
        await made.first_certificate()
        await eventually_async(lambda: len(made.asked) >= 2, what="the renewal")
        running.cancel()
        await asyncio.wait([running])
        # Once, and by no other way: neither by token nor on another connection.
        assert made.ca.count(REFUSED, reason="rate_limited") == 1
        assert made.asked[1].startswith("svid ")
        assert made.identity.failures == 1
        (at, wait_s) = next(found for found in enumerate(made.pauses) if found[1] > 61)
        left_s = 1740 - sum(made.pauses[:at])
        assert wait_s == pytest.approx(left_s * (1 + jitter), abs=0.1)


async def test_no_ca_is_left_alone_for_long(tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    options = IdentityOptions("127.0.0.1:1", tmp_path / "root", tmp_path / "token")
    identity = Identity(options, sleep=sleep, jitter=lambda: 0.5)
    for said_s in (0.0, 4.0, 86400.0):
        await identity._wait_after(NotNowError("too many", said_s), 1)
    assert slept == [0.0, 6.0, 300.0]


async def test_a_ca_that_wants_to_be_left_alone_does_not_outwait_the_certificate(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, IssueLimits()) as made:
        running = spawn(made.identity.run(), "identity")
        await made.first_certificate()
        running.cancel()
        await asyncio.wait([running])
        for left_s, waited_s in ((100.0, 50.0), (0.6, 0.5), (-1.0, 300.0)):
            made.pauses.append(made.identity.left_s() - left_s)
            before = len(made.pauses)
            await made.identity._wait_after(NotNowError("too many", 86400.0), 1)
            assert made.pauses[before:] == [pytest.approx(waited_s, abs=0.1)]
