"""Certificates of peers as they were sent, by OpenSSL's object of them.

A session that is kept shares its peer's certificate with each connection that resumes it, and to
encode that anew takes a hundredth of such a handshake. Whose object is held here stays where it
is, so that no other certificate can have its address.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.tls.openssl import der_of, ffi, lib

MAX_HELD: Final = 1024
_free: Final[Any] = lib.X509_free
_guarded: Final[Any] = ffi.gc


class Ders:
    """Of too many, the one that was told first is forgotten."""

    __slots__ = ("_held", "_most")

    def __init__(self, most: int = MAX_HELD) -> None:
        self._held: dict[Any, bytes] = {}
        self._most = most

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
        if len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[held] = der
        return der
