"""OpenSSL as pyOpenSSL brings it: the only module that knows more of it than its public names.

pyOpenSSL's own reading and writing costs three times what OpenSSL takes, so `session` calls the
functions beneath, as pyOpenSSL does. That one depends on exactly the versions of `cryptography`
that have them, and a test holds the names used here.

Why not the `ssl` module: what Python is linked to is often OpenSSL 3.0, which takes twice as long
to verify a certificate; it has no curves, no signature algorithms, no verification within the
handshake, no way to close one direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL

lib: Any = SSL._lib  # type: ignore[attr-defined]
ffi: Any = SSL._ffi  # type: ignore[attr-defined]

NULL: Any = ffi.NULL

# What every read goes through: all belongs to one thread, and nothing is left for later.
SIZE: Final = 64 * 1024
BUFFER: Any = ffi.new("char[]", SIZE)
VIEW: Any = ffi.buffer(BUFFER)
_scratch: Final[Any] = lib.BIO_new(lib.BIO_s_mem())
_ciphers: Final[dict[Any, str]] = {}  # by address: they are OpenSSL's constants

_string: Final[Any] = ffi.string
_current_cipher: Final[Any] = lib.SSL_get_current_cipher
_bio_write: Final[Any] = lib.i2d_X509_bio
_bio_read: Final[Any] = lib.BIO_read

# openssl/ssl.h: a server sends the chain that it was given, and does not build (and verify) one
# anew in each handshake: a seventh of its work. What BoringSSL does, too.
MODE_NO_AUTO_CHAIN: Final = 0x8
# A write says how much has gone, and what was cut off may be written again from elsewhere.
MODE_WRITES_IN_PARTS: Final = 0x1 | 0x2
# A read goes on behind a record that carries nothing for us. OpenSSL's default.
MODE_AUTO_RETRY: Final = 0x4
_CHOOSE_NAME = "int (*)(SSL *, int *, void *)"
_CHOOSE_ALPN = (
    "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
)


def set_groups(context: SSL.Context, names: tuple[str, ...]) -> bool:
    """Key exchange groups (Envoy: `ecdh_curves`), the preferred first. False: one is unknown."""
    return _accepted(lib.SSL_CTX_set1_curves_list(context._context, ":".join(names).encode()))


def set_signature_algorithms(context: SSL.Context, names: tuple[str, ...]) -> bool:
    """By their names in TLS 1.3. False: one is unknown."""
    return _accepted(lib.SSL_CTX_set1_sigalgs_list(context._context, ":".join(names).encode()))


def _accepted(result: int) -> bool:
    lib.ERR_clear_error()
    return result == 1


def der_of(certificate: Any) -> bytes:
    """Of an `X509 *`."""
    _bio_write(_scratch, certificate)
    parts: list[bytes] = []
    while (got := _bio_read(_scratch, BUFFER, SIZE)) > 0:
        parts.append(VIEW[:got])
    return b"".join(parts)


def cipher_name(ssl: Any) -> str:
    """Of an open `SSL *`."""
    cipher = _current_cipher(ssl)
    name = _ciphers.get(cipher)
    if name is None:
        name = _ciphers[cipher] = text(lib.SSL_CIPHER_get_name(cipher))
    return name


def set_verify(context: SSL.Context, mode: int, callback: Any) -> None:
    """callback: an `int (*)(int, X509_STORE_CTX *)` that is never let go."""
    lib.SSL_CTX_set_verify(context._context, mode, callback)


def choose_alpn(context: SSL.Context, protocols: tuple[str, ...]) -> None:
    """The server's choice: its own first that the client offers; none fits: none is spoken of
    (Envoy: SSL_TLSEXT_ERR_NOACK)."""
    ours = tuple(name.encode() for name in protocols)

    def choose(_: Any, out: Any, size: Any, offered: Any, length: int, __: Any) -> int:
        data = ffi.buffer(offered, length)[:]
        places: dict[bytes, int] = {}
        at = 0
        while at < length:
            end = at + 1 + data[at]
            places.setdefault(data[at + 1 : end], at + 1)
            at = end
        for name in ours:
            if name in places:
                out[0] = offered + places[name]
                size[0] = len(name)
                return int(lib.SSL_TLSEXT_ERR_OK)
        return int(lib.SSL_TLSEXT_ERR_NOACK)

    kept = ffi.callback(_CHOOSE_ALPN, choose, error=lib.SSL_TLSEXT_ERR_ALERT_FATAL)
    context._alpn_select_callback = kept  # where pyOpenSSL keeps its own
    lib.SSL_CTX_set_alpn_select_cb(context._context, kept, ffi.NULL)


def choose_by_name(context: SSL.Context, choose: Callable[[str], SSL.Context | None]) -> None:
    """The server's certificate by the client's SNI (in lower case, '' for none): `choose` answers
    the context that has it, which must never be let go, or None for this one."""

    def chosen(ssl: Any, _: Any, __: Any) -> int:
        name = lib.SSL_get_servername(ssl, lib.TLSEXT_NAMETYPE_host_name)
        found = choose(text(name).lower())
        if found is not None:
            lib.SSL_set_SSL_CTX(ssl, found._context)
        return int(lib.SSL_TLSEXT_ERR_OK)

    kept = ffi.callback(_CHOOSE_NAME, chosen, error=lib.SSL_TLSEXT_ERR_ALERT_FATAL)
    context._tlsext_servername_callback = kept  # where pyOpenSSL keeps its own
    lib.SSL_CTX_set_tlsext_servername_callback(context._context, kept)


def text(pointer: Any) -> str:
    """Of a `const char *`; '' for none."""
    if not pointer:
        return ""
    found: bytes = _string(pointer)
    return found.decode("latin-1")


def errors() -> list[str]:
    """What OpenSSL has to say of its last failure, in its words; forgets it."""
    found: list[str] = []
    while code := lib.ERR_get_error():
        reason = lib.ERR_reason_error_string(code)
        if reason != ffi.NULL:
            found.append(ffi.string(reason).decode("ascii", "replace"))
    return found
