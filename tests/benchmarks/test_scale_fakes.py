"""The fakes of proxies, before a control plane of gRPC's own, and before one that misbehaves."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from h2.errors import ErrorCodes

from benchmarks.scale.fakes import SERVER_NAME, Counts, Fake
from benchmarks.scale.fleet import Fleet
from certs.authority import Authority as CertificateAuthority
from protos.types import CDS, EDS
from tests.support.fake_ads import FakeAds
from tests.support.pki import Authority, server_context
from tests.support.wait import eventually_async

ROOT = Authority()
ME = "spiffe://cluster.local/ns/default/sa/w3"
NUMBER = 3


def fake(port: int, counts: Counts, believed: Authority = ROOT) -> Fake:
    mine = ROOT.issue(uris=(ME,))
    pem = {"key": mine.key, "chain": mine.certificate, "calls": None}
    job = {"address": f"127.0.0.1:{port}", "roots": believed.pem, "proxies": {str(NUMBER): pem}}
    return Fake(job, NUMBER, counts)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[FakeAds]:
    server, root = ROOT.issue(dns=(SERVER_NAME,)), ROOT.pem.encode()
    pair = (server.key.encode(), server.certificate.encode())
    ads = FakeAds(**options)
    await ads.start(grpc.ssl_server_credentials([pair], root, require_client_auth=True))
    try:
        yield ads
    finally:
        await ads.stop()


async def opened(one: Fake) -> None:
    await one.open()
    async with asyncio.timeout(60):
        await one.initial.wait()


def nonces(ads: FakeAds) -> list[str]:
    return [each.response_nonce for each in ads.requests if each.response_nonce]


async def test_a_fake_acknowledges_each_response() -> None:
    counts = Counts()
    async with serving() as ads:
        name = "outbound|80||a"
        ads.put(CDS, name, "1", Cluster(name=name, alt_stat_name="x" * 300_000))
        one = fake(ads.port, counts)
        await opened(one)
        assert ads.peers[0]["x509_subject_alternative_name"] == [ME.encode()]
        ads.put(CDS, name, "2", Cluster(name=name))
        counts.touched.clear()
        await ads.push()
        async with asyncio.timeout(60):
            await counts.reached(1)
        await eventually_async(lambda: len(nonces(ads)) == counts.responses)
        assert nonces(ads) == [f"n{number + 1}" for number in range(counts.responses)]
        assert counts.bytes > 300_000
        assert list(ads.said(EDS)[0].resource_names_subscribe) == [name]
        one.close()
    assert not counts.failures


async def test_one_that_comes_again_says_what_it_holds() -> None:
    counts = Counts()
    async with serving() as ads:
        ads.put(CDS, "a", "7", Cluster(name="a"))
        one = fake(ads.port, counts)
        await opened(one)
        one.close()
        await opened(one)
        first = [each for each in ads.said(CDS) if each.node.id]
        assert [dict(each.initial_resource_versions) for each in first] == [{}, {"a": "7"}]
        assert [each["ssl_session_reused"] for each in ads.peers] == [[b"false"]] * 2
        one.close()
    assert not counts.failures


async def test_a_status_is_a_failure_that_nobody_waits_for() -> None:
    counts = Counts()
    async with serving(refuse="who are you") as ads:
        await opened(fake(ads.port, counts))
        await counts.reached(1)
    assert counts.failures == ["w3: the server has ended the stream: UNAUTHENTICATED: who are you"]


async def test_a_server_that_is_not_believed_is_a_failure() -> None:
    counts = Counts()
    async with serving() as ads:
        await opened(fake(ads.port, counts, believed=Authority()))
    assert [why.partition(":")[0] for why in counts.failures] == ["w3"]
    assert "TLS: " in counts.failures[0]
    assert not ads.requests


async def test_a_server_that_is_gone_is_a_failure() -> None:
    counts = Counts()
    async with serving() as ads:
        one = fake(ads.port, counts)
        await opened(one)
    await eventually_async(lambda: counts.failures)
    await opened(one)
    assert len(counts.failures) == 2


def test_the_fleet_raises_what_its_fakes_complain_of() -> None:
    authority = CertificateAuthority.create("cluster.local", time.time())
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with Fleet(address, authority.bundle.to_pem(), authority, [None, [1]], 1, None) as fleet:
            assert fleet.do("tell").responses == 0
            with pytest.raises(RuntimeError, match=r"2 streams .*w0: .*failed.* w1: "):
                fleet.do("open")


# ------------------------------------------------------------------ frames of h2's server

Act = Callable[[h2.connection.H2Connection, int], None]
"""What a server does on a stream that has come."""


class Frames:
    """seen: the kinds of events. open: connections that are served."""

    def __init__(self, act: Act, closes: bool) -> None:
        self.act = act
        self.closes = closes
        self.seen: list[type[h2.events.Event]] = []
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass  # it was closed with something of ours unread
        finally:
            writer.close()
            self.open -= 1

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2_side = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        h2_side.initiate_connection()
        while data := await reader.read(65536):
            for event in h2_side.receive_data(data):
                self.seen.append(type(event))
                if isinstance(event, h2.events.RequestReceived) and event.stream_id:
                    self.act(h2_side, event.stream_id)
            writer.write(h2_side.data_to_send())
            if self.closes and h2.events.RequestReceived in self.seen:
                break


@asynccontextmanager
async def frames(folder: Path, act: Act, closes: bool = False) -> AsyncIterator[tuple[Frames, int]]:
    context = server_context(ROOT, ROOT.issue(dns=(SERVER_NAME,)).write(folder, "server"))
    context.set_alpn_protocols(["h2"])
    peer = Frames(act, closes)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield peer, server.sockets[0].getsockname()[1]
        await eventually_async(lambda: not peer.open)


def ping(wire: h2.connection.H2Connection, stream_id: int) -> None:
    wire.ping(b"8 bytes.")


async def test_pings_are_answered(tmp_path: Path) -> None:
    async with frames(tmp_path, ping) as (peer, port):
        counts = Counts()
        one = fake(port, counts)
        await one.open()
        await eventually_async(lambda: h2.events.PingAckReceived in peer.seen)
        one.close()
        await eventually_async(lambda: h2.events.StreamReset in peer.seen)
        assert not counts.failures


async def ended(folder: Path, act: Act, closes: bool = False) -> str:
    """Of what the fake complains then."""
    counts = Counts()
    async with frames(folder, act, closes) as (_, port):
        await opened(fake(port, counts))
    (failure,) = counts.failures
    return failure


def answer(
    wire: h2.connection.H2Connection, stream_id: int, status: str = "200", data: bytes = b""
) -> None:
    wire.send_headers(stream_id, [(":status", status), ("content-type", "application/grpc")])
    wire.send_data(stream_id, data, end_stream=not data)


async def test_each_end_is_told(tmp_path: Path) -> None:
    def reset(wire: h2.connection.H2Connection, stream_id: int) -> None:
        wire.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)

    def leave(wire: h2.connection.H2Connection, stream_id: int) -> None:
        wire.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings", stream_id)

    assert "the stream was reset: INTERNAL_ERROR" in await ended(tmp_path, reset)
    assert "GOAWAY with ENHANCE_YOUR_CALM too_many_pings" in await ended(tmp_path, leave, True)
    assert "HTTP status 503" in await ended(tmp_path, partial(answer, status="503"))
    compressed = b"\1\0\0\0\1x"
    assert "compressed" in await ended(tmp_path, partial(answer, data=compressed))
