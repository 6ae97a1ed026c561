"""TLS material of the proxy's model, made from a test's `Authority`; handshakes in memory."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from proxy.config import model
from proxy.tls.contexts import ClientTls, ServerTls
from proxy.tls.session import Session
from tests.support.pki import Authority, KeyPair


def certificate(pair: KeyPair) -> model.TlsCertificate:
    return model.TlsCertificate(
        model.DataSource(pair.certificate.encode()), model.DataSource(pair.key.encode())
    )


def validation(
    authority: Authority | None, *sans: model.SanMatcher
) -> model.ValidationContext | None:
    if authority is None:
        return None
    return model.ValidationContext(model.DataSource(authority.pem.encode()), sans)


def uri(value: str, kind: str = "exact") -> model.SanMatcher:
    return model.SanMatcher("URI", model.StringMatcher(kind, value))  # type: ignore[arg-type]


def python_client(
    authority: Authority, pair: KeyPair | None = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """A plain Python client that trusts `authority` and shows `pair`; host names not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.pem)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if pair is not None:
        load(context, pair)
    return context


def load(context: ssl.SSLContext, pair: KeyPair) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)


@contextlib.contextmanager
def accepting(use: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that hands each connection to `use`."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        def accept() -> None:
            sock, _ = listening.accept()
            sock.setblocking(False)
            use(sock)

        loop.add_reader(listening, accept)
        try:
            yield listening.getsockname()[1]
        finally:
            loop.remove_reader(listening)


async def connected_to(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


class Side(Protocol):
    """One end of a handshake within one process."""

    def shake(self, data: bytes) -> bool: ...
    def taken(self) -> bytes: ...


class SessionSide:
    """A session of the proxy, and the other end of its socket. What the session tells of itself is
    here, too."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._its, self._ours = socket.socketpair()
        for sock in (self._its, self._ours):
            sock.setblocking(False)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        session.attach(self._its.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def __del__(self) -> None:
        self._its.close()
        self._ours.close()

    def hear(self, data: bytes) -> None:
        if data:
            self._ours.sendall(data)

    def shake(self, data: bytes) -> bool:
        self.hear(data)
        return self.session.shake()

    def taken(self) -> bytes:
        """What it has said."""
        parts = []
        with contextlib.suppress(BlockingIOError):
            while part := self._ours.recv(1 << 20):
                parts.append(part)
        return b"".join(parts)

    def decrypt(self, data: bytes) -> bytes:
        self.hear(data)
        parts = [self.session.read()]
        while parts[-1] or self._has_more():  # what was read may have been none for us
            parts.append(self.session.read())
        return b"".join(parts)

    def _has_more(self) -> bool:
        return not self.session.ended and bool(select.select((self._its,), (), (), 0)[0])

    def encrypt(self, data: bytes) -> bytes:
        assert self.session.write(data) == len(data)
        return self.taken()

    def close_notify(self) -> bytes:
        assert self.session.close_notify()
        return self.taken()


class PythonSide:
    """An end that is Python's `ssl` object, which shares nothing with the proxy's."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def shake(self, data: bytes) -> bool:
        self._incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def taken(self) -> bytes:
        return self._outgoing.read()

    def read(self, data: bytes = b"") -> bytes:
        """The plaintext of `data`; raises ssl.SSLError for an alert."""
        self._incoming.write(data)
        try:
            return self.tls.read()
        except ssl.SSLWantReadError:
            return b""

    def write(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.taken()


def shake_hands(client: Side | Session, server: Side | Session) -> None:
    """Raises what either side raises. What the server says after the end is left in it."""
    client, server = (
        SessionSide(one) if isinstance(one, Session) else one for one in (client, server)
    )
    words, client_done, server_done = b"", False, False
    while not (client_done and server_done):
        client_done = client_done or client.shake(words)
        words = client.taken()
        server_done = server_done or server.shake(words)
        if not client_done:
            words = server.taken()


def handshake(client: ClientTls, server: ServerTls) -> tuple[SessionSide, SessionSide]:
    """Both after a handshake."""
    sides = SessionSide(client.session()), SessionSide(server.session())
    shake_hands(*sides)
    return sides


def python_handshake(
    client: ssl.SSLContext, server: ServerTls, server_name: str | None = None
) -> tuple[PythonSide, SessionSide]:
    sides = PythonSide(client, server_name), SessionSide(server.session())
    shake_hands(*sides)
    return sides
