"""One side of one TLS connection: the peer's bytes in, plaintext out, and the other way round.

    shaking hands (`shake` until it says so) -> open (`decrypt`, `encrypt`) -> each direction ends
    by itself: ours by `close_notify`, the peer's when `ended` is set

Opens nothing. All sessions share one buffer: they belong to one thread.
"""

from __future__ import annotations

from typing import Any, Protocol

from OpenSSL import SSL

from proxy.connection import Secured
from proxy.tls.failure import CHAIN, CONNECTION, NO_CERTIFICATE, Refusal, TlsFailed
from proxy.tls.openssl import BUFFER, SIZE, VIEW, cipher_name, der_of, errors, ffi, lib

RECORD = 16 * 1024  # RFC 8446 section 5.1: what one record carries at most
_HEADER = 5
_GROUPS = {
    "x25519": "X25519", "secp256r1": "P-256", "prime256v1": "P-256", "secp384r1": "P-384",
    "secp521r1": "P-521", "x25519mlkem768": "X25519MLKEM768",
}  # fmt: skip
# What comes of a client that was meant for another port, or another mode.
_PLAIN_WORDS = {
    "http request": "the peer speaks plain HTTP, not TLS",
    "wrong version number": "what the peer says is no TLS",
}
_VERSIONS = {SSL.TLS1_2_VERSION: "TLSv1.2", SSL.TLS1_3_VERSION: "TLSv1.3"}

_new_bio, _memory = lib.BIO_new, lib.BIO_s_mem
_bio_read, _bio_write = lib.BIO_read, lib.BIO_write
_ssl_read, _ssl_write = lib.SSL_read, lib.SSL_write


class Judge(Protocol):
    """Whose word counts beside OpenSSL's. wants_chain: of each certificate, not only the leaf."""

    @property
    def wants_chain(self) -> bool: ...

    def judge(self, session: Session, der: bytes, error: int, depth: int, ok: int) -> bool: ...


def _judge(ok: int, store: Any) -> int:
    """OpenSSL's verify callback of every context: contexts are shared by whoever differs in names
    only; the session whose hands are shaken knows whom to ask."""
    session = _shaking[-1]
    verifier = session.verifier
    if verifier is None:
        return ok
    depth: int = lib.X509_STORE_CTX_get_error_depth(store)
    if ok and depth and not verifier.wants_chain:
        return 1
    der = der_of(lib.X509_STORE_CTX_get_current_cert(store))
    if not depth:
        session.shown = der
    error: int = lib.X509_STORE_CTX_get_error(store)
    if not verifier.judge(session, der, error, depth, ok):
        return 0
    lib.X509_STORE_CTX_set_error(store, lib.X509_V_OK)
    return 1


judged: Any = ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge, error=0)
_shaking: list[Session] = []


class Session:
    """ended: the peer will say nothing more (close_notify). refusal: what the verification of the
    peer's certificate has to say. wanted_name: one that the peer's certificate must have beside
    what is configured, '' for none."""

    __slots__ = (
        "_aligned",
        "_incoming",
        "_missing",
        "_outgoing",
        "_ssl",
        "connection",
        "ended",
        "refusal",
        "server",
        "shown",
        "verifier",
        "wanted_name",
    )

    def __init__(
        self,
        context: SSL.Context,
        verifier: Judge | None,
        *,
        server: bool,
        server_name: str = "",
        wanted_name: str = "",
    ) -> None:
        """verifier: judges the peer's certificate, where `context` asks `judged`. server_name: the
        SNI to send, '' for none."""
        connection = self.connection = SSL.Connection(context)
        self._ssl = connection._ssl
        self._incoming = connection._into_ssl
        self._outgoing = connection._from_ssl
        self._aligned = True  # what came ends with a record
        self._missing = 0  # else: bytes of the record that has begun, -1 if that can't be told
        self.ended = False
        self.refusal = Refusal()
        self.verifier = verifier
        self.shown = b""  # the peer's certificate, if it was looked at in the handshake
        self.wanted_name = wanted_name
        self.server = server
        if server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
            if server_name:
                connection.set_tlsext_host_name(server_name.encode())

    # ------------------------------------------------------------------ the handshake

    def shake(self, data: bytes) -> bool:
        """Goes on with what the peer sent; True when the handshake is over. `taken` is to be sent
        in any case, also when this raises TlsFailed."""
        if data:
            _bio_write(self._incoming, data, len(data))
            self._measure(data)
        _shaking.append(self)
        done: int = lib.SSL_do_handshake(self._ssl)
        _shaking.pop()
        if done == 1:
            return True
        if lib.SSL_get_error(self._ssl, done) != lib.SSL_ERROR_WANT_READ:
            raise self._failure()
        return False

    def _settle(self) -> None:
        """Gives OpenSSL's buffers back, which never shrink; nothing waits in them."""
        incoming, outgoing = _new_bio(_memory()), _new_bio(_memory())
        lib.SSL_set_bio(self._ssl, incoming, outgoing)
        self._incoming = self.connection._into_ssl = incoming
        self._outgoing = self.connection._from_ssl = outgoing

    # ------------------------------------------------------------------ open

    def decrypt(self, data: bytes) -> bytes:
        """The plaintext that is whole with `data`; may be nothing. Raises TlsFailed.

        After the peer's close_notify all is passed over (RFC 8446 section 6.1): OpenSSL would keep
        it and never look at it."""
        if self.ended:
            return b""
        size = len(data)
        _bio_write(self._incoming, data, size)
        if self._aligned and size > _HEADER and size == _HEADER + (data[3] << 8 | data[4]):
            got: int = _ssl_read(self._ssl, BUFFER, SIZE)
            if got > 0:
                return VIEW[:got]  # type: ignore[no-any-return]
            self._no_more(got)
            return b""
        self._measure(data)
        return self.rest(size)

    def rest(self, size: int = 0) -> bytes:
        """What came with the end of the handshake."""
        parts: list[bytes] = []
        while (got := _ssl_read(self._ssl, BUFFER, SIZE)) > 0:
            parts.append(VIEW[:got])
        self._no_more(got)
        if self._aligned and (not size or size > SIZE // 2):
            self._settle()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _no_more(self, result: int) -> None:
        error = lib.SSL_get_error(self._ssl, result)
        if error == lib.SSL_ERROR_WANT_READ:
            return
        if error == lib.SSL_ERROR_ZERO_RETURN:
            self.ended = True
            return
        raise self._failure()

    def _measure(self, data: bytes) -> None:
        """Does a record end where `data` ends? Then the next read need not be tried in vain."""
        if self._missing < 0:
            return
        at, size = self._missing, len(data)
        while at + _HEADER <= size:
            at += _HEADER + (data[at + 3] << 8 | data[at + 4])
        self._aligned = at == size
        self._missing = at - size if at >= size else -1

    def encrypt(self, data: bytes) -> bytes:
        """What to send for `data`. Raises TlsFailed."""
        size = len(data)
        if size <= RECORD:
            if not size:
                return b""
            done: int = _ssl_write(self._ssl, data, size)
            if done <= 0:
                raise self._failure()
            got: int = _bio_read(self._outgoing, BUFFER, SIZE)
            return VIEW[:got]  # type: ignore[no-any-return]
        # A record at a time, so that OpenSSL's buffer stays small.
        return b"".join(self.encrypt(data[at : at + RECORD]) for at in range(0, size, RECORD))

    def taken(self) -> bytes:
        """What the protocol itself has to send: handshakes, tickets, alerts, key updates."""
        parts: list[bytes] = []
        while (got := _bio_read(self._outgoing, BUFFER, SIZE)) > 0:
            parts.append(VIEW[:got])
        return b"".join(parts)

    def close_notify(self) -> bytes:
        """Our direction is over (RFC 8446 section 6.1); what to send. The peer's may go on."""
        lib.SSL_shutdown(self._ssl)
        lib.ERR_clear_error()
        return self.taken()

    def secured(self) -> Secured | None:
        """For who logs a connection to a host: a client's matter."""
        return None

    def keep(self) -> None:
        """The peer may have sent what resumes this session: a client's matter."""

    # ------------------------------------------------------------------ facts, once it is open

    @property
    def only_tickets_left(self) -> bool:
        """What a server says after a handshake of TLS 1.3 (RFC 8446 section 4.6.1) can wait."""
        return self.server and lib.SSL_version(self._ssl) == SSL.TLS1_3_VERSION

    @property
    def version(self) -> str:
        return _VERSIONS[lib.SSL_version(self._ssl)]

    @property
    def cipher(self) -> str:
        return cipher_name(self._ssl)

    @property
    def group(self) -> str:
        """Of the key exchange, in Envoy's words: X25519, P-256."""
        name = self.connection.get_group_name() or ""
        return _GROUPS.get(name.lower(), name)

    @property
    def alpn(self) -> str:
        return self.connection.get_alpn_proto_negotiated().decode("latin-1")

    @property
    def server_name(self) -> str:
        """The client's SNI in lower case, '' when it sent none."""
        return (self.connection.get_servername() or b"").decode("latin-1").lower()

    @property
    def resumed(self) -> bool:
        return bool(lib.SSL_session_reused(self._ssl))

    @property
    def peer_der(self) -> bytes:
        """Its certificate, b"" when it has shown none."""
        if not self.shown:
            found = self.connection.get_peer_certificate()
            self.shown = b"" if found is None else der_of(found._x509)
        return self.shown

    def peer_chain(self) -> tuple[bytes, ...]:
        """What it has shown beside its certificate."""
        der = self.peer_der
        shown = self.connection.get_peer_cert_chain() or []
        others = [der_of(one._x509) for one in shown]
        return tuple(one for one in others if one != der)

    # ------------------------------------------------------------------ failure

    def _failure(self) -> TlsFailed:
        """What OpenSSL says, put into Envoy's statistics."""
        refusal = self.refusal
        words = errors()
        if refusal.why:
            return TlsFailed(refusal.statistic, refusal.why)
        if "certificate verify failed" in words:
            return TlsFailed(CHAIN, "the certificate could not be verified")
        if "peer did not return a certificate" in words:
            return TlsFailed(NO_CERTIFICATE, "the peer has shown no certificate")
        if not words:
            return TlsFailed("", "the peer has closed the connection")
        return TlsFailed(CONNECTION, _PLAIN_WORDS.get(words[-1], words[-1]))
