"""TLS connections over real sockets, ours at both ends: each direction for itself, nothing lost."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from proxy.config import model
from proxy.tasks import spawn
from proxy.tls import ders, kept, ocsp, openssl, session, told, verify
from proxy.tls.contexts import ClientTls, client_context, server_context
from proxy.tls.failure import TlsFailed
from proxy.tls.handshake import Handshake
from proxy.tls.originate import originate
from proxy.tls.transport import TlsTransport
from proxy.transport.watch import watch_of
from tests.support.pki import Authority
from tests.support.tls import accepting, certificate, connected_to, python_client, validation

ROOT = Authority()
SERVER = ROOT.issue(dns=("server.test",))
CLIENT = ROOT.issue(uris=("spiffe://td/client",))
USERS_OF_OPENSSL = (ders, kept, ocsp, openssl, session, told, verify)
BIG = bytes(range(256)) * 8192  # 2 MiB, of which no two neighbours are the same


class End(asyncio.Protocol):
    """Keeps what it hears. stays: the peer's end of its direction does not end ours."""

    def __init__(self, stays: bool = True) -> None:
        self.heard = bytearray()
        self.stays = stays
        self.full = False
        self.ready = asyncio.Event()
        self.eof = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: TlsTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(TlsTransport, transport)
        self.ready.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def eof_received(self) -> bool:
        self.eof.set()
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    @property
    def tls(self) -> TlsTransport:
        assert self.transport is not None
        return self.transport


def server_tls(**fields: Any) -> Any:
    common = model.CommonTls(certificates=(certificate(SERVER),), **fields)
    return server_context(model.DownstreamTls(common, bool(fields)), {})


def client_tls(version: str = "TLSv1_3", shown: Any = CLIENT) -> ClientTls:
    common = model.CommonTls(
        certificates=(certificate(shown),),
        validation=validation(ROOT),
        max_version=version,  # type: ignore[arg-type]
    )
    return client_context(model.UpstreamTls(common), {})


@asynccontextmanager
async def listening(tls: Any, end: End, close_notify_wait_s: float = 1.0) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()

    def accept(sock: socket.socket) -> None:
        Handshake(loop, sock, tls.session(), lambda _: end, lambda _: None, close_notify_wait_s)

    with accepting(accept) as port:
        try:
            yield port
        finally:
            if end.transport is not None:
                end.transport.abort()


async def connected(port: int, end: End, tls: ClientTls) -> None:
    await originate(tls.session(), end, lambda: connected_to(port), 1.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 — the ends have no event for it
            await asyncio.sleep(0.001)


async def gone(end: End) -> None:
    end.tls.abort()
    await asyncio.wait_for(end.lost, 20)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_each_direction_ends_by_itself(version: str) -> None:
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls(version))
        there.tls.write(b"question")
        there.tls.write_eof()
        await asyncio.wait_for(here.eof.wait(), 20)
        assert here.heard == b"question"
        here.tls.write(BIG)  # the other direction goes on
        here.tls.close()
        await until(lambda: len(there.heard) == len(BIG))
        assert there.heard == BIG
        await asyncio.wait_for(there.eof.wait(), 20)
        there.tls.close()
        assert await asyncio.wait_for(here.lost, 20) is None


async def test_much_in_both_directions_at_once() -> None:
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        for _ in range(3):
            here.tls.write(BIG)
            there.tls.write(BIG)
        await until(lambda: len(there.heard) == len(here.heard) == 3 * len(BIG))
        assert here.heard == there.heard == 3 * BIG
        await gone(there)


async def test_nothing_comes_while_reading_is_paused() -> None:
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        here.tls.pause_reading()
        there.tls.write(b"later")
        await asyncio.sleep(0)
        there.tls.write_eof()
        for _ in range(50):
            await asyncio.sleep(0)
        assert here.heard == b"" and not here.eof.is_set()
        here.tls.resume_reading()
        await asyncio.wait_for(here.eof.wait(), 20)
        assert here.heard == b"later"
        await gone(there)


async def test_who_has_no_more_to_say_and_does_not_listen_is_closed() -> None:
    here, there = End(stays=False), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        there.tls.write_eof()
        assert await asyncio.wait_for(here.lost, 20) is None
        await asyncio.wait_for(there.eof.wait(), 20)
        await gone(there)


async def test_a_server_that_refuses_says_so_to_a_client_that_has_finished() -> None:
    """In TLS 1.3 the client is done before its certificate is looked at."""
    here, there = End(), End()
    stranger = Authority("other").issue(uris=("spiffe://td/x",))
    async with listening(server_tls(validation=validation(ROOT)), here) as port:
        await connected(port, there, client_tls(shown=stranger))
        error = await asyncio.wait_for(there.lost, 20)
        assert isinstance(error, TlsFailed)
        assert error.by_alert
        assert "unknown ca" in error.why
        assert here.transport is None


async def test_a_reset_behind_data_is_not_missed() -> None:
    """libuv calls us once for both."""
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        there.tls.write(b"last words")
        sock = there.tls.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.tls.abort()
        assert isinstance(await asyncio.wait_for(here.lost, 20), ConnectionResetError)


async def test_a_reader_that_is_slow_gets_all_and_the_writer_is_told() -> None:
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        there.tls.pause_reading()
        while not here.full:
            here.tls.write(BIG)
        written = here.tls.get_write_buffer_size()
        assert written > 64 * 1024
        here.tls.close()
        assert here.tls.is_closing() and not here.lost.done()
        there.tls.resume_reading()
        await asyncio.wait_for(there.eof.wait(), 20)
        assert here.tls.get_write_buffer_size() == 0
        assert len(there.heard) % len(BIG) == 0
        assert there.heard == BIG * (len(there.heard) // len(BIG))
        assert await asyncio.wait_for(here.lost, 20) is None
        await gone(there)


async def test_who_reads_nothing_keeps_no_closed_connection() -> None:
    here, there = End(), End()
    async with listening(server_tls(), here, close_notify_wait_s=0.01) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        there.tls.pause_reading()
        while not here.full:
            here.tls.write(BIG)
        here.tls.close()
        assert await asyncio.wait_for(here.lost, 20) is None
        await gone(there)


async def test_who_fails_at_what_he_hears_has_no_connection_left() -> None:
    class Failing(End):
        def data_received(self, data: bytes) -> None:
            raise LookupError(data)

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
    here, there = Failing(), End(stays=False)
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        there.tls.write(b"question")
        assert isinstance(await asyncio.wait_for(here.lost, 20), LookupError)
        await asyncio.wait_for(there.lost, 20)
        assert told == [here.lost.result()]


async def test_who_fails_as_he_is_connected_has_no_connection_left() -> None:
    class Failing(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise LookupError

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
    here, there = Failing(), End(stays=False)
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(there.lost, 20)
        await asyncio.wait_for(here.lost, 20)
        assert len(told) == 1


async def test_who_gives_up_as_the_connection_is_there_leaves_none() -> None:
    class Late(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            asking.cancel()

    here, there = End(stays=False), Late()
    async with listening(server_tls(), here) as port:
        asking = spawn(connected(port, there, client_tls()), "connect")
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(there.lost, 20)
        await asyncio.wait_for(here.lost, 20)


async def test_who_pauses_behind_a_failed_write_leaves_no_reader_behind() -> None:
    """The descriptor will be another connection's, which would hear nothing."""
    here, there = End(), End(stays=False)
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        sock = here.tls.get_extra_info("socket")
        descriptor = sock.fileno()
        sock.shutdown(socket.SHUT_WR)  # what is written fails from here on
        here.tls.write(b"answer")
        here.tls.pause_reading()
        await asyncio.wait_for(here.lost, 20)
        assert not watch_of(asyncio.get_running_loop()).remove_reader(descriptor)
        await gone(there)


async def test_what_is_no_tls_ends_the_connection_with_a_reason() -> None:
    here, there = End(), End()
    async with listening(server_tls(), here) as port:
        await connected(port, there, client_tls())
        await asyncio.wait_for(here.ready.wait(), 20)
        there.tls.get_extra_info("socket").send(b"GET / HTTP/1.1\r\n\r\n")
        error = await asyncio.wait_for(here.lost, 20)
        assert isinstance(error, TlsFailed)
        assert error.statistic == "connection_error"


async def test_a_client_of_python_gets_tickets_with_the_first_answer() -> None:
    here = End()
    async with listening(server_tls(), here) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=python_client(ROOT), server_hostname="server.test"
        )
        await asyncio.wait_for(here.ready.wait(), 20)
        here.tls.write(b"hello")
        assert await reader.read(100) == b"hello"
        session = cast(ssl.SSLObject, writer.get_extra_info("ssl_object")).session
        assert session is not None and session.has_ticket
        writer.close()


def test_the_names_beneath_pyopenssl_are_there() -> None:
    """What `openssl` and `session` use of its private names; a new version of it has to have
    them."""
    used = set(re.findall(r"\blib\.(\w+)", "".join(map(inspect.getsource, USERS_OF_OPENSSL))))
    assert "SSL_do_handshake" in used
    assert not [name for name in used if not hasattr(openssl.lib, name)]
    assert client_tls().make(("h2",))._context
