"""OpenSSL as pyOpenSSL brings it: the only module that knows more of it than its public names.

pyOpenSSL's own reading and writing costs three times what OpenSSL takes, so `session` calls the
functions beneath, as pyOpenSSL does. That one depends on exactly the versions of `cryptography`
that have them, and a test holds the names used here.

Why not the `ssl` module: what Python is linked to is often OpenSSL 3.0, which takes twice as long
to verify a certificate; it has no curves, no signature algorithms, no verification within the
handshake, no way to close one direction.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

lib: Any = SSL._lib  # type: ignore[attr-defined]
ffi: Any = SSL._ffi  # type: ignore[attr-defined]

# openssl/ssl.h: a server sends the chain that it was given, and does not build (and verify) one
# anew in each handshake: a seventh of its work. What BoringSSL does, too.
MODE_NO_AUTO_CHAIN = 0x8


def set_groups(context: SSL.Context, names: tuple[str, ...]) -> bool:
    """Key exchange groups (Envoy: `ecdh_curves`), the preferred first. False: one is unknown."""
    return _accepted(lib.SSL_CTX_set1_curves_list(context._context, ":".join(names).encode()))


def set_signature_algorithms(context: SSL.Context, names: tuple[str, ...]) -> bool:
    """By their names in TLS 1.3. False: one is unknown."""
    return _accepted(lib.SSL_CTX_set1_sigalgs_list(context._context, ":".join(names).encode()))


def _accepted(result: int) -> bool:
    lib.ERR_clear_error()
    return result == 1


def errors() -> list[str]:
    """What OpenSSL has to say of its last failure, in its words; forgets it."""
    found: list[str] = []
    while code := lib.ERR_get_error():
        reason = lib.ERR_reason_error_string(code)
        if reason != ffi.NULL:
            found.append(ffi.string(reason).decode("ascii", "replace"))
    return found
