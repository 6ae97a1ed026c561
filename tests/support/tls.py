"""TLS material of the proxy's model, made from a test's `Authority`; handshakes in memory."""

from __future__ import annotations

import ssl
from typing import Protocol

from proxy.config import model
from proxy.tls.contexts import ClientSession, ClientTls, ServerTls
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


class Side(Protocol):
    """One end of a handshake in memory: the proxy's sessions are such."""

    def shake(self, data: bytes) -> bool: ...
    def taken(self) -> bytes: ...


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


def shake_hands(client: Side, server: Side) -> None:
    """Raises what either side raises. What the server says after the end is left in it."""
    words, client_done, server_done = b"", False, False
    while not (client_done and server_done):
        client_done = client_done or client.shake(words)
        words = client.taken()
        server_done = server_done or server.shake(words)
        if not client_done:
            words = server.taken()


def handshake(client: ClientTls, server: ServerTls) -> tuple[ClientSession, Session]:
    """Both sessions after a handshake in memory."""
    sides = client.session(), server.session()
    shake_hands(*sides)
    return sides


def python_handshake(
    client: ssl.SSLContext, server: ServerTls, server_name: str | None = None
) -> tuple[PythonSide, Session]:
    sides = PythonSide(client, server_name), server.session()
    shake_hands(*sides)
    return sides
