"""Connections through real sockets: who gets in, what the protocol is told, what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from proxy.config import model
from proxy.connection import ConnectionInfo
from proxy.listen import accept
from proxy.listen.listeners import Listeners
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tls.contexts import ServerTls, server_context
from proxy.tls.session import Session
from tests.support.pki import Authority
from tests.support.tls import certificate, python_client, uri, validation
from tests.support.wait import eventually_async

GOOD = "spiffe://cluster.local/ns/default/sa/good"
BAD = "spiffe://cluster.local/ns/default/sa/bad"
LOOPBACK = model.SocketAddress("127.0.0.1")


@dataclass
class Chain:
    """Says its name to whoever sends something."""

    name: str = "chain"
    match: model.FilterChainMatch = field(default_factory=model.FilterChainMatch)
    tls: ServerTls | None = None
    handshake_timeout_s: float | None = None
    close_notify_wait_s: float = 1.0
    seen: list[ConnectionInfo] = field(default_factory=list)

    def connect(self, info: ConnectionInfo) -> asyncio.Protocol:
        self.seen.append(info)
        return _Greeter(self.name, info)


class _Greeter(asyncio.Protocol):
    def __init__(self, name: str, info: ConnectionInfo) -> None:
        self.name, self.info = name, info

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(f"{self.name} {data.decode()}".encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.info.on_closed()


@dataclass
class House:
    """Listeners with their statistics."""

    listeners: Listeners
    stats: Stats
    values: RuntimeValues

    def up(self, *chains: Chain, name: str = "x", **fields: object) -> int:
        """Applies one listener; answers its port."""
        config = model.Listener(name, LOOPBACK, stat_prefix=name)
        config = replace(config, **fields)  # type: ignore[arg-type]
        assert self.listeners.apply({name: ListenerRuntime(config, chains)}) == {}
        return self.listeners.addresses[name][1]

    def count(self, name: str) -> int:
        """A counter or gauge of the listener x."""
        found = self.stats.counters.get(f"listener.x.{name}") or self.stats.gauges.get(
            f"listener.x.{name}"
        )
        return found.value if found else 0


@pytest.fixture
async def house() -> AsyncIterator[House]:
    stats = Stats()
    values = RuntimeValues()
    listeners = Listeners(asyncio.get_running_loop(), stats, values)
    yield House(listeners, stats, values)
    listeners.close()


async def say(port: int, tls: ssl.SSLContext | None = None, server_name: str = "") -> str:
    """What the listener answers to `hello`, '' when it closes instead."""
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=tls, server_hostname=server_name if tls else None
            )
            try:
                writer.write(b"hello")
                return (await reader.read(100)).decode()
            finally:
                writer.close()
    except (OSError, ssl.SSLError):
        return ""


async def test_no_more_connections_than_the_runtime_says(house: House) -> None:
    port = house.up(Chain("a"))
    key = "envoy.resource_limits.listener.x.connection_limit"
    house.values.override({key: "1"})
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await eventually_async(lambda: house.count("downstream_cx_active") == 1, what="the first one")
    assert await say(port) == ""
    assert (house.count("downstream_cx_overflow"), house.count("downstream_cx_total")) == (1, 1)
    house.values.override({key: "2"})
    assert await say(port) != ""
    writer.close()


# --------------------------------------------------------------------------- who gets in

ROOT, OTHER_ROOT = Authority(), Authority("another root")
SERVER = ROOT.issue(uris=("spiffe://cluster.local/ns/default/sa/server",))

CLIENTS: dict[str, Callable[[], ssl.SSLContext | None]] = {
    "plaintext": lambda: None,
    "no certificate": lambda: python_client(ROOT),
    "wrong CA": lambda: python_client(ROOT, OTHER_ROOT.issue(uris=(GOOD,))),
    "wrong SAN": lambda: python_client(ROOT, ROOT.issue(uris=(BAD,))),
    "expired": lambda: python_client(
        ROOT, ROOT.issue(uris=(GOOD,), lifetime=timedelta(minutes=-5))
    ),
    "right": lambda: python_client(ROOT, ROOT.issue(uris=(GOOD,))),
}
REFUSED = {
    "plaintext": "ssl.connection_error",
    "no certificate": "ssl.fail_verify_no_cert",
    "wrong CA": "ssl.fail_verify_error",
    "wrong SAN": "ssl.fail_verify_san",
    "expired": "ssl.fail_verify_error",
}


def server_tls(required: bool) -> ServerTls:
    common = model.CommonTls(
        certificates=(certificate(SERVER),), validation=validation(ROOT, uri(GOOD))
    )
    return server_context(model.DownstreamTls(common, require_client_certificate=required), {})


@pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_who_gets_in(house: House, client: str, required: bool) -> None:
    chain = Chain(tls=server_tls(required))
    port = house.up(chain)
    expected = client == "right" or (client == "no certificate" and not required)

    answer = await say(port, CLIENTS[client]())

    assert answer == ("chain hello" if expected else "")
    await eventually_async(lambda: house.count("downstream_cx_destroy") == 1, what="destroyed")
    assert house.count("downstream_cx_active") == 0
    assert len(chain.seen) == (1 if expected else 0)
    if expected:
        assert house.count("ssl.handshake") == 1
    else:
        assert house.count(REFUSED[client]) == 1
        assert house.count("ssl.handshake") == 0


@pytest.mark.parametrize("client", ["right", "no certificate"])
async def test_a_connection_that_is_over_is_gone_at_once(house: House, client: str) -> None:
    """It does not wait for Python's collector: OpenSSL's part of it is large."""
    chain, tls = Chain(tls=server_tls(True)), CLIENTS[client]()
    port = house.up(chain)

    def alive() -> int:
        chain.seen.clear()
        return sum(type(one) is Session for one in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        for _ in range(2):
            assert bool(await say(port, tls)) == (client == "right")
        await eventually_async(lambda: house.count("downstream_cx_total") == 2)
        await eventually_async(lambda: house.count("downstream_cx_active") == 0)
        await eventually_async(lambda: alive() <= before)
    finally:
        gc.enable()


async def test_the_protocol_is_told_everything_before_it_begins(house: House) -> None:
    common = model.CommonTls(
        certificates=(certificate(SERVER),), validation=validation(ROOT), alpn=("istio", "http/1.1")
    )
    chain = Chain(tls=server_context(model.DownstreamTls(common, True), {}))
    port = house.up(chain)
    client = python_client(ROOT, ROOT.issue(uris=(GOOD,)), alpn=("http/1.1",))

    assert await say(port, client, "Outbound_.80_._.shop") == "chain hello"

    info = chain.seen[0]
    assert info.tls
    assert info.local == ("127.0.0.1", port)
    assert (info.sni, info.alpn) == ("outbound_.80_._.shop", "http/1.1")
    assert (info.tls_version, info.cipher) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert info.peer is not None
    assert info.peer.uri_sans == (GOOD,)
    assert (info.peer.subject, info.peer.issuer) == ("CN=test leaf", "CN=test root")
    for agreed in ("versions.TLSv1.3", "curves.X25519", "sigalgs.ecdsa_secp256r1_sha256"):
        assert house.stats.counters[f"listener.x.ssl.{agreed}"].value == 1


async def test_a_handshake_that_never_begins_times_out(house: House) -> None:
    port = house.up(Chain(tls=server_tls(True), handshake_timeout_s=0.05))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
    counter = "downstream_cx_transport_socket_connect_timeout"
    await eventually_async(lambda: house.count(counter) == 1, what=counter)
    await eventually_async(lambda: house.count("downstream_cx_active") == 0)


@pytest.mark.parametrize("inspected", [False, True], ids=["shaking hands", "inspected"])
@pytest.mark.parametrize("patience_s", [0.0, 20.0])
async def test_many_who_say_nothing_keep_nobody_out(
    house: House, monkeypatch: pytest.MonkeyPatch, inspected: bool, patience_s: float
) -> None:
    """patience_s: whether they give way at once, or when their own time is over."""
    monkeypatch.setattr(accept, "MAX_PENDING", 3)
    monkeypatch.setattr(accept, "PATIENCE_S", patience_s)
    time_s = 20.0 if patience_s == 0.0 else 0.1
    match = model.FilterChainMatch(transport_protocol="tls" if inspected else "")
    chain = Chain("chain", match, server_tls(False), handshake_timeout_s=time_s)
    port = house.up(chain, listener_filters_timeout_s=time_s)
    async with contextlib.AsyncExitStack() as stack:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for _, writer in silent:
            stack.callback(writer.close)
        assert await say(port, python_client(ROOT)) == "chain hello"
        assert await _read(silent[0][0]) == b""
    gone = (
        "downstream_pre_cx_timeout"
        if inspected
        else "downstream_cx_transport_socket_connect_timeout"
    )
    assert house.count(gone) >= 3


# --------------------------------------------------------------------------- choosing a chain


async def test_permissive_serves_tls_and_plaintext_on_one_port(house: House) -> None:
    tls = Chain("mtls", model.FilterChainMatch(transport_protocol="tls"), server_tls(True))
    plain = Chain("plain", model.FilterChainMatch(transport_protocol="raw_buffer"))
    port = house.up(tls, plain, tls_inspector=True)
    assert await say(port) == "plain hello"
    assert await say(port, CLIENTS["right"]()) == "mtls hello"
    assert await say(port, CLIENTS["no certificate"]()) == ""
    assert house.stats.counters["tls_inspector.tls_found"].value == 2
    assert house.stats.counters["tls_inspector.tls_not_found"].value == 1


async def test_the_server_name_chooses_the_chain(house: House) -> None:
    exact = Chain("exact", model.FilterChainMatch(server_names=("a.test",)), server_tls(False))
    wild = Chain("wild", model.FilterChainMatch(server_names=("*.test",)), server_tls(False))
    port = house.up(exact, wild)  # nobody asked for the tls_inspector: it is added as Envoy does
    client = python_client(ROOT)
    assert await say(port, client, "a.test") == "exact hello"
    assert await say(port, client, "b.a.test") == "wild hello"
    assert await say(port, client, "elsewhere.example") == ""
    await eventually_async(lambda: house.count("no_filter_chain_match") == 1)


async def test_http_inspector_finds_the_protocol(house: House) -> None:
    match = model.FilterChainMatch(
        transport_protocol="raw_buffer", application_protocols=("http/1.1",)
    )
    port = house.up(Chain("http", match), http_inspector=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in (b"GE", b"T / HT", b"TP/1.1\r\n"):
        writer.write(part)
        await writer.drain()
    assert (await reader.read(100)).startswith(b"http GET / HTTP/1.1")
    writer.close()


async def test_a_client_hello_in_pieces(house: House) -> None:
    chain = Chain(tls=server_tls(False))
    port = house.up(chain, tls_inspector=True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = python_client(ROOT).wrap_bio(incoming, outgoing, server_hostname="slow.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    hello = outgoing.read()
    for byte in range(0, len(hello), 40):
        writer.write(hello[byte : byte + 40])
        await writer.drain()
    incoming.write(await reader.read(65536))
    client.do_handshake()
    client.write(b"hello")
    writer.write(outgoing.read())
    assert await _decrypt(client, incoming, reader) == b"chain hello"
    writer.close()
    assert chain.seen[0].sni == "slow.test"


@pytest.mark.parametrize("goes_on", [True, False])
async def test_silence_at_the_inspector(house: House, goes_on: bool) -> None:
    port = house.up(
        Chain(),
        tls_inspector=True,
        listener_filters_timeout_s=0.05,
        continue_on_listener_filters_timeout=goes_on,
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await eventually_async(lambda: house.count("downstream_pre_cx_timeout") == 1)
    writer.write(b"late")
    assert await _read(reader) == (b"chain late" if goes_on else b"")
    writer.close()
    assert house.count("downstream_pre_cx_active") == 0


async def test_gone_before_the_inspector_knows(house: House) -> None:
    port = house.up(Chain(), tls_inspector=True)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03")
    await writer.drain()
    writer.close()
    counter = "downstream_listener_filter_remote_close"
    await eventually_async(lambda: house.count(counter) == 1, what=counter)


async def _decrypt(
    client: ssl.SSLObject, incoming: ssl.MemoryBIO, reader: asyncio.StreamReader
) -> bytes:
    while True:
        incoming.write(await reader.read(65536))
        try:
            return client.read()
        except ssl.SSLWantReadError:
            continue  # session tickets only


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(100)
    except ConnectionError:
        return b""


# --------------------------------------------------------------------------- changing listeners


async def test_a_change_keeps_the_socket_and_live_connections(house: House) -> None:
    port = house.up(Chain("old"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"1")
    assert await reader.read(100) == b"old 1"

    assert house.up(Chain("new", tls=server_tls(False))) == port

    writer.write(b"2")
    assert await reader.read(100) == b"old 2"
    assert await say(port, python_client(ROOT)) == "new hello"
    writer.close()


async def test_a_removed_listener_accepts_no_more_but_serves_on(house: House) -> None:
    port = house.up(Chain("old"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"1")
    assert await reader.read(100) == b"old 1"

    assert house.listeners.apply({}) == {}

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"2")
    assert await reader.read(100) == b"old 2"
    writer.close()
    assert house.stats.gauges["listener_manager.total_listeners_active"].value == 0
    assert house.stats.counters["listener_manager.listener_removed"].value == 1


async def test_a_port_in_use_is_named_and_the_others_come_up(house: House) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    bad = model.Listener("bad", model.SocketAddress("127.0.0.1", port))
    errors = house.listeners.apply(
        {
            "bad": ListenerRuntime(bad, [Chain()]),
            "good": ListenerRuntime(model.Listener("good", LOOPBACK), [Chain()]),
        }
    )
    assert errors == {
        "bad": f"cannot listen on 127.0.0.1:{port} (listener bad): address already in use"
    }
    assert await say(house.listeners.addresses["good"][1]) == "chain hello"
    taken.close()
    await taken.wait_closed()


async def test_a_listener_that_cannot_move_stays(house: House) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = house.up(Chain("old"))
    away = model.Listener("x", model.SocketAddress("127.0.0.1", taken.sockets[0].getsockname()[1]))
    errors = house.listeners.apply({"x": ListenerRuntime(away, [Chain("new")])})
    assert list(errors) == ["x"]
    assert await say(port) == "old hello"
    taken.close()
    await taken.wait_closed()
    assert house.listeners.apply({"x": ListenerRuntime(away, [Chain("new")])}) == {}
    assert await say(house.listeners.addresses["x"][1]) == "new hello"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_two_listeners_on_one_address(house: House) -> None:
    port = house.up(Chain("first"), name="first")
    address = model.SocketAddress("127.0.0.1", port)
    house.listeners.close()
    errors = house.listeners.apply(
        {
            name: ListenerRuntime(model.Listener(name, address), [Chain(name)])
            for name in ("first", "second")
        }
    )
    assert errors["second"].endswith("(listener second): listener first has the same address")
    assert await say(port) == "first hello"


async def test_a_listener_moves_from_one_address_to_all(house: House) -> None:
    port = house.up(Chain("old"))
    house.listeners.apply({})
    one = model.Listener("x", model.SocketAddress("127.0.0.1", port))
    every = model.Listener("x", model.SocketAddress("0.0.0.0", port))
    assert house.listeners.apply({"x": ListenerRuntime(one, [Chain("one")])}) == {}
    assert await say(port) == "one hello"
    assert house.listeners.apply({"x": ListenerRuntime(every, [Chain("every")])}) == {}
    assert await say(port) == "every hello"


async def test_both_families_on_the_wildcard(house: House) -> None:
    chain = Chain()
    port = house.up(chain, address=model.SocketAddress("::", ipv4_compat=True))
    assert await say(port) == "chain hello"
    assert chain.seen[0].remote[0] == "127.0.0.1"
    assert chain.seen[0].local == ("127.0.0.1", port)


async def test_only_one_family_without_ipv4_compat(house: House) -> None:
    port = house.up(Chain(), address=model.SocketAddress("::"))
    assert await say(port) == ""
    with socket.create_connection(("::1", port)) as client:
        client.sendall(b"hello")
        assert await asyncio.to_thread(client.recv, 100) == b"chain hello"


# --------------------------------------------------------------------------- trouble


async def test_out_of_descriptors_waits_and_goes_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    port = house.up(Chain())
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(20)
        client.sendall(b"hello")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(client.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            await eventually_async(lambda: "cannot accept" in caplog.text, what="a log line")
            assert house.count("downstream_cx_total") == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert await asyncio.to_thread(client.recv, 100) == b"chain hello"


async def test_closed_while_shaking_hands(house: House) -> None:
    port = house.up(Chain(tls=server_tls(True)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await eventually_async(lambda: house.count("downstream_cx_active") == 1)
    house.listeners.close()
    assert await _read(reader) == b""
    await eventually_async(lambda: house.count("downstream_cx_active") == 0)
    writer.close()


@pytest.mark.parametrize("turns", range(6))
async def test_closed_at_any_stage(house: House, turns: int) -> None:
    port = house.up(Chain(tls=server_tls(True)))
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        house.listeners.close()
        client.settimeout(20)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.to_thread(client.recv, 1) == b""
    await eventually_async(lambda: house.count("downstream_cx_active") == 0)


# --------------------------------------------------------------------------- original destination


async def redirected(
    house: House, monkeypatch: pytest.MonkeyPatch, destination: tuple[str, int] | str | None
) -> tuple[str, list[ConnectionInfo]]:
    """What a connection gets that was made to `destination` and redirected to our listener."""
    own, other = Chain("own"), Chain("other")
    virtual = model.Listener("y", model.SocketAddress("0.0.0.0", 80), bind_to_port=False)
    front = model.Listener("x", LOOPBACK, use_original_dst=True, stat_prefix="x")
    house.listeners.apply(
        {"x": ListenerRuntime(front, [own]), "y": ListenerRuntime(virtual, [other])}
    )
    address = house.listeners.addresses["x"]
    found = address if destination == "the listener itself" else destination
    monkeypatch.setattr(accept, "original_destination", lambda _: found)
    return await say(address[1]), own.seen + other.seen


@pytest.mark.parametrize(
    ("destination", "answer"),
    [
        (("10.0.0.1", 80), "other hello"),  # handed to the listener of 0.0.0.0:80
        (("10.0.0.1", 81), "own hello"),  # nobody's: the listener that accepted it
        (None, "own hello"),  # not redirected
        ("the listener itself", ""),  # direct, with connection tracking: it would loop
    ],
)
async def test_original_destination(
    house: House, monkeypatch: pytest.MonkeyPatch, destination: Any, answer: str
) -> None:
    said, seen = await redirected(house, monkeypatch, destination)
    assert said == answer
    if isinstance(destination, tuple):
        assert seen[0].local == destination
        assert seen[0].direct_local == house.listeners.addresses["x"]
