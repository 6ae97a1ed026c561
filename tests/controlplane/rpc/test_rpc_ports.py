"""Ports with TLS: who is let in, what is known of him, what may change under connections."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, chain_to_pem
from controlplane.rpc.limits import DEFAULT_LIMITS
from controlplane.rpc.tls import Credentials
from tests.controlplane.rpc.serving import SERVICE, serving
from tests.support.wait import eventually_async

NOW = time.time()
ONE = Authority.create("td", NOW)
OTHER = Authority.create("td", NOW)
ME = SpiffeId.workload("td", "default", "me")
TIMEOUT_S = 60


def signed(authority: Authority, **names: Any) -> tuple[bytes, bytes]:
    """A key and its chain, without the root."""
    key = generate_key()
    chain = authority.sign(key.public_key(), ME, 3600, NOW, **names)
    return key_to_pem(key), chain_to_pem(chain[:-1])


class Credits:
    """What the port shows and believes."""

    def __init__(self, authority: Authority, believes: Authority | None) -> None:
        self.show(authority, believes)

    def show(self, authority: Authority, believes: Authority | None) -> None:
        roots = believes.bundle.to_pem() if believes is not None else b""
        self.now = Credentials(*signed(authority, dns_names=["localhost"]), roots)

    def __call__(self) -> Credentials:
        return self.now


def dial(port: int, shows: Authority | None, believes: TrustBundle = ONE.bundle) -> Any:
    key, chain = signed(shows) if shows is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(believes.to_pem(), key, chain)
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", "localhost"),
    )
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


async def call(channel: Any) -> bytes:
    found: bytes = await channel.unary_unary(f"/{SERVICE}/One")(b"x", timeout=TIMEOUT_S)
    return found


async def refused(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_a_client_has_shown_is_known() -> None:
    async with serving(credentials=Credits(ONE, ONE)) as (echo, port, _):
        async with dial(port, ONE) as channel:
            assert await call(channel) == b"x"
        facts = echo.contexts[0].auth_context()
        (leaf,) = chain_from_pem(b"".join(facts["x509_pem_cert"]))
        assert chain_from_pem(b"".join(facts["x509_pem_cert_chain"]))[0] == leaf


async def test_who_shows_nothing_or_what_is_not_believed_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(credentials=Credits(ONE, ONE)) as (echo, port, _):
        with caplog.at_level(logging.WARNING, "weft.controlplane.rpc"):
            async with dial(port, None) as channel:
                await refused(channel)
            async with dial(port, OTHER) as channel:
                await refused(channel)
        assert not echo.contexts
        assert "the peer has shown no certificate" in caplog.text
    async with serving(credentials=Credits(ONE, None)) as (echo, port, _):
        async with dial(port, OTHER) as channel:
            assert await call(channel) == b"x"  # it was not asked for
        assert echo.contexts[0].auth_context() == {}


async def test_open_connections_stay_when_all_is_rotated() -> None:
    credits = Credits(ONE, ONE)
    async with (
        serving(credentials=credits) as (_, port, _server),
        dial(port, ONE) as before,
    ):
        assert await call(before) == b"x"
        credits.show(OTHER, OTHER)
        assert await call(before) == b"x"
        async with dial(port, ONE, OTHER.bundle) as late:
            await refused(late)
        async with dial(port, OTHER, OTHER.bundle) as channel:
            assert await call(channel) == b"x"
        assert await call(before) == b"x"


async def test_who_does_not_speak_http2_is_not_let_in() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    async with serving(credentials=Credits(ONE, None)) as (_, port, _server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        async with asyncio.timeout(TIMEOUT_S):
            assert await reader.read() == b""
        writer.close()


async def test_handshakes_that_take_too_long_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.rpc.server.SWEEP_S", 0.01)
    limits = replace(DEFAULT_LIMITS, handshake_s=0.1)
    async with serving(limits, Credits(ONE, None)) as (_, port, _server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01")  # a hello begins, and goes no further
        async with asyncio.timeout(TIMEOUT_S):
            assert await reader.read() == b""
        writer.close()


async def test_the_oldest_handshake_gives_way() -> None:
    limits = replace(DEFAULT_LIMITS, max_handshakes=2)
    async with serving(limits, Credits(ONE, None)) as (_, port, _server):
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with dial(port, None) as channel:
            assert await call(channel) == b"x"
        async with asyncio.timeout(TIMEOUT_S):
            assert await waiting[0][0].read() == b""
        for _, writer in waiting:
            writer.close()


def waiting(channel: Any) -> Any:
    return channel.unary_unary(f"/{SERVICE}/Waits")(b"done", timeout=TIMEOUT_S)


async def test_a_stop_lets_calls_end() -> None:
    async with (
        serving() as (echo, port, server),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        ends = waiting(channel)
        await eventually_async(lambda: echo.seen == ["began"])
        stopping = asyncio.ensure_future(server.stop(TIMEOUT_S))  # noqa: TID251  awaited below
        await asyncio.sleep(0)
        echo.gate.set()
        assert await ends == b"done"
        await stopping


async def test_a_stop_cuts_off_what_does_not_end() -> None:
    async with (
        serving() as (echo, port, server),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        hangs = waiting(channel)
        await eventually_async(lambda: echo.seen == ["began"])
        await server.stop(0)
        assert echo.seen[1:] == ["over False", "cancelled"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hangs
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
