"""Certificates of peers as they were sent, by OpenSSL's object of them.

A session that is kept shares its peer's certificate with each connection that resumes it, and to
encode that anew takes a hundredth of such a handshake. Whose object is held here stays where it
is, so that no other certificate can have its address.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.tls.openssl import der_of, ffi, lib

MAX_HELD: Final = 1024
MAX_BYTES: Final = 8 * 1024
"""Of one: decoded it takes twelve times as much, and a stranger may show one of 100 KB."""
_free: Final[Any] = lib.X509_free
_guarded: Final[Any] = ffi.gc


class Ders:
    """Of too many, the one that was told first is forgotten. Long ones are not held."""

    __slots__ = ("_held", "_longest", "_most")

    def __init__(self, most: int = MAX_HELD, longest: int = MAX_BYTES) -> None:
        self._held: dict[Any, bytes] = {}
        self._most = most
        self._longest = longest

    def __len__(self) -> int:
        return len(self._held)

    def of(self, certificate: Any) -> bytes:
        """certificate: an `X509 *` with a reference of ours, which is taken."""
        der = self._held.get(certificate)
        if der is not None:
            _free(certificate)
            return der
        held = _guarded(certificate, _free)
        der = der_of(held)
        if len(der) > self._longest:
            return der
        if len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[held] = der
        return der
