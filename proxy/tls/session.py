"""One side of one TLS connection, over a socket that OpenSSL reads and writes itself.

    shaking hands (`shake` until it says so) -> open (`read`, `write`) -> each direction ends by
    itself: ours by `close_notify`, the peer's when `ended` is set

The socket is somebody else's, and non-blocking. What was read is copied out of one buffer that all
sessions share: they belong to one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from OpenSSL import SSL

from proxy.connection import Secured
from proxy.tls.chains import Chains
from proxy.tls.ders import Ders
from proxy.tls.failure import CHAIN, CONNECTION, NO_CERTIFICATE, TlsFailed
from proxy.tls.openssl import BUFFER, SIZE, VIEW, cipher_name, der_of, errors, ffi, lib, text
from proxy.tls.refusal import Refusal
from proxy.tls.told import group_of, told

RECORD: Final = 16 * 1024  # RFC 8446 section 5.1: what one record carries at most
# What comes of a client that was meant for another port, or another mode.
_PLAIN_WORDS: Final = {
    "http request": "the peer speaks plain HTTP, not TLS",
    "wrong version number": "what the peer says is no TLS",
}
_TLS_1_3: Final[int] = SSL.TLS1_3_VERSION
_VERSIONS: Final = {SSL.TLS1_2_VERSION: "TLSv1.2", _TLS_1_3: "TLSv1.3"}
# X509_V_ERR_PERMITTED_VIOLATION, which peers hear as certificate_unknown (Envoy's alert, too).
_REFUSED: Final = 47
_GONE: Final = "the peer has closed the connection"

_buffer: Final[Any] = BUFFER
_view: Final[Any] = VIEW
_ssl_new: Final[Any] = lib.SSL_new
_ssl_free: Final[Any] = lib.SSL_free
_ssl_read: Final[Any] = lib.SSL_read
_ssl_write: Final[Any] = lib.SSL_write
_ssl_error: Final[Any] = lib.SSL_get_error
_shake_hands: Final[Any] = lib.SSL_do_handshake
_version: Final[Any] = lib.SSL_version
_accept: Final[Any] = lib.SSL_set_accept_state
_set_descriptor: Final[Any] = lib.SSL_set_fd
_set_options: Final[Any] = lib.SSL_set_options
_shut_down: Final[Any] = lib.SSL_shutdown
_set_shut_down: Final[Any] = lib.SSL_set_shutdown
_clear_errors: Final[Any] = lib.ERR_clear_error
_reused: Final[Any] = lib.SSL_session_reused
_get_session: Final[Any] = lib.SSL_get1_session
_session_free: Final[Any] = lib.SSL_SESSION_free
_get_certificate: Final[Any] = lib.SSL_get_peer_certificate
_certificate_free: Final[Any] = lib.X509_free
_get_chain: Final[Any] = lib.SSL_get_peer_cert_chain
_count: Final[Any] = lib.sk_X509_num
_get_name: Final[Any] = lib.SSL_get_servername
_get_alpn: Final[Any] = lib.SSL_get0_alpn_selected
_guarded: Final[Any] = ffi.gc
_address: Final[Any] = ffi.from_buffer
_NO_TICKET: Final[int] = SSL.OP_NO_TICKET
_WANT_READ: Final[int] = lib.SSL_ERROR_WANT_READ
_WANT_WRITE: Final[int] = lib.SSL_ERROR_WANT_WRITE
_ZERO_RETURN: Final[int] = lib.SSL_ERROR_ZERO_RETURN
_SYSCALL: Final[int] = lib.SSL_ERROR_SYSCALL
_HOST_NAME: Final[int] = lib.TLSEXT_NAMETYPE_host_name
_BOTH_SHUT_DOWN: Final[int] = lib.SSL_SENT_SHUTDOWN | lib.SSL_RECEIVED_SHUTDOWN


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
        if ok:  # what we say is none of OpenSSL's errors, and the peer would hear "internal error"
            lib.X509_STORE_CTX_set_error(store, _REFUSED)
        return 0
    lib.X509_STORE_CTX_set_error(store, lib.X509_V_OK)
    return 1


judged: Any = ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge, error=0)
_shaking: Final[list[Session]] = []


def shaking() -> Session:
    """Whose hands are shaken: for OpenSSL's callbacks."""
    return _shaking[-1]


class Resumable:
    """A session that another connection of the same context may resume."""

    __slots__ = ("context", "session")

    def __init__(self, context: SSL.Context, session: Any) -> None:
        """session: an `SSL_SESSION *` of ours."""
        self.context = context
        self.session = session


class Session:
    """ended: the peer will say nothing more (close_notify, or the end of TCP). blocked: what waits
    to be written has no room in the socket. refusal: what the verification of the peer's
    certificate has to say. wanted_name: one that the peer's certificate must have beside what is
    configured, '' for none. stapled: what became of the client's wish for an OCSP response, '' if
    it had none. version, resumed: known when the handshake is over."""

    __slots__ = (
        "_cipher",
        "_context",
        "_is_kept",
        "_ssl",
        "blocked",
        "ended",
        "refusal",
        "resumed",
        "server",
        "shown",
        "stapled",
        "verifier",
        "version",
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
        free: Callable[[Any], None] = _ssl_free,
    ) -> None:
        """verifier: judges the peer's certificate, where `context` asks `judged`. server_name: the
        SNI to send, '' for none. free: of the `SSL *`, at its end."""
        self._context = context  # it keeps the callbacks
        self._ssl = ssl = _guarded(_ssl_new(context._context), free)
        self._cipher = ""
        self._is_kept = False  # and resumed with what this one has of its peer
        self.version = ""
        self.resumed = False
        self.ended = False
        self.blocked = False
        self.refusal = Refusal()
        self.verifier = verifier
        self.shown = b""  # the peer's certificate, if it was looked at in the handshake
        self.stapled = ""
        self.wanted_name = wanted_name
        self.server = server
        if server:
            _accept(ssl)
        else:
            lib.SSL_set_connect_state(ssl)
            if server_name:
                lib.SSL_set_tlsext_host_name(ssl, server_name.encode())

    def attach(self, descriptor: int) -> None:
        """The socket to use, before anything else; whoever owns it closes it."""
        _set_descriptor(self._ssl, descriptor)

    def want_no_ticket(self) -> None:
        """Before the handshake: the server keeps the session, and its tickets only name it."""
        self._is_kept = True
        _set_options(self._ssl, _NO_TICKET)

    # ------------------------------------------------------------------ the handshake

    def shake(self) -> bool:
        """Goes on with what is there; True when the handshake is over. Raises TlsFailed, of which
        the peer was told."""
        self.blocked = False
        _shaking.append(self)
        done: int = _shake_hands(self._ssl)
        _shaking.pop()
        if done == 1:
            self.version = _VERSIONS[_version(self._ssl)]
            self.resumed = bool(_reused(self._ssl))
            return True
        if not self._waits(done):
            raise self._failure()
        return False

    # ------------------------------------------------------------------ open

    def read(self) -> bytes:
        """The plaintext of the next record; nothing when it is not there yet, or has nothing for
        us, or after the end. Raises TlsFailed and OSError."""
        got: int = _ssl_read(self._ssl, _buffer, SIZE)
        if got > 0:
            return _view[:got]  # type: ignore[no-any-return]
        error: int = _ssl_error(self._ssl, got)
        if error == _ZERO_RETURN:
            self.ended = True
        elif error != _WANT_READ and error != _WANT_WRITE:
            raise self._broken(error)
        return b""

    def write(self, data: bytes, sent: int = 0) -> int:
        """How many bytes of `data` were sent by now, where `sent` were before: less than all only
        where `blocked` is set, and then the rest is to be written again before anything else.
        Raises TlsFailed and OSError."""
        size = len(data)
        start: Any = data
        if sent:
            start = _address(data)
            done: int = _ssl_write(self._ssl, start + sent, size - sent)
        else:
            done = _ssl_write(self._ssl, data, size)
            if done == size:
                return done
            start = _address(data)
        while done > 0:
            sent += done
            if sent == size:
                return sent
            done = _ssl_write(self._ssl, start + sent, size - sent)
        if not self._waits(done):
            raise self._broken(_ssl_error(self._ssl, done))
        return sent

    def close_notify(self) -> bool:
        """Our direction is over (RFC 8446 section 6.1). The peer's may go on. False: there is no
        room for the message, so say it again."""
        done: int = _shut_down(self._ssl)
        said = done >= 0 or not self._waits(done)
        _clear_errors()
        return said

    def over(self) -> None:
        """The connection is at its end, however that came. OpenSSL spoils the session of one that
        has had no proper end; RFC 5246 section 7.2.1 has dropped that rule, and many a connection
        to a host is broken off."""
        _set_shut_down(self._ssl, _BOTH_SHUT_DOWN)

    def secured(self) -> Secured | None:
        """For who logs a connection to a host: a client's matter."""
        return None

    def keep(self) -> None:
        """The peer may have sent what resumes this session: a client's matter."""

    # ------------------------------------------------------------------ resumption

    def resume(self, earlier: Resumable) -> None:
        """A client's, before the handshake; `earlier` is of the same context."""
        lib.SSL_set_session(self._ssl, earlier.session)

    def resumable(self) -> Resumable | None:
        session = _get_session(self._ssl)
        if not session:
            return None
        return Resumable(self._context, _guarded(session, _session_free))

    # ------------------------------------------------------------------ facts, once it is open

    @property
    def only_tickets_left(self) -> bool:
        """What a server says at the end of a handshake of TLS 1.3 (RFC 8446 section 4.6.1) can
        wait. Not known before the first words of the client are."""
        version: int = _version(self._ssl)
        return self.server and version == _TLS_1_3

    @property
    def cipher(self) -> str:
        if not self._cipher:
            self._cipher = cipher_name(self._ssl)
        return self._cipher

    @property
    def group(self) -> str:
        """Of the key exchange, in Envoy's words: X25519, P-256."""
        return group_of(self._ssl)

    def told(self, what: str) -> str:
        """What is seldom asked for: see there."""
        return told(self._ssl, what)

    @property
    def alpn(self) -> str:
        _get_alpn(self._ssl, _alpn, _alpn_size)
        size: int = _alpn_size[0]
        return ffi.buffer(_alpn[0], size)[:].decode("latin-1") if size else ""

    @property
    def server_name(self) -> str:
        """The client's SNI in lower case, '' when it sent none."""
        return text(_get_name(self._ssl, _HOST_NAME)).lower()

    @property
    def peer_der(self) -> bytes:
        """Its certificate, b"" when it has shown none."""
        if not self.shown:
            found = _get_certificate(self._ssl)
            if not found:
                return b""
            if self._is_kept:
                self.shown = _ders.of(found)
            else:
                self.shown = der_of(_guarded(found, _certificate_free))
        return self.shown

    def peer_chain(self) -> tuple[bytes, ...]:
        """What it has shown beside its certificate, if need be in the handshake that is resumed."""
        der = self.peer_der
        shown = _get_chain(self._ssl)
        if not shown:
            return _chains.of(der) if self.resumed else ()
        count: int = _count(shown)
        if not count:
            return ()
        others = [der_of(lib.sk_X509_value(shown, at)) for at in range(count)]
        return tuple(one for one in others if one != der)

    def remember_chain(self) -> None:
        """After a full handshake with a verified peer; a client's session has it at hand."""
        if not self.server:
            return
        shown = _get_chain(self._ssl)
        if shown and _count(shown) and self.peer_der not in _chains:
            chain = self.peer_chain()
            if chain:
                _chains.remember(self.peer_der, chain)

    # ------------------------------------------------------------------ failure

    def _waits(self, result: int) -> bool:
        """For the peer, or for room."""
        error: int = _ssl_error(self._ssl, result)
        self.blocked = error == _WANT_WRITE
        return self.blocked or error == _WANT_READ

    def _broken(self, error: int) -> Exception:
        """What ended a connection that was open; as the socket's error where it was that."""
        number: int = ffi.errno
        if error == _SYSCALL and number:
            lib.ERR_clear_error()
            return OSError(number, os.strerror(number))
        return self._failure()

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
            return TlsFailed("", _GONE)
        return TlsFailed(CONNECTION, _PLAIN_WORDS.get(words[-1], words[-1]))


_alpn: Final[Any] = ffi.new("unsigned char **")
_alpn_size: Final[Any] = ffi.new("unsigned int *")
_chains: Final = Chains()
_ders: Final = Ders()
