"""Which certificates are revoked, and the end of connections that live on with one.

A handshake is refused by OpenSSL, which has the same lists; this is for those that were over
before, or had begun with older lists (`revoked_now`). A list counts for the certificates of its
issuer, whoever showed them: the issuer is ours, or we would not have its list.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from time import monotonic

from cryptography import x509

from proxy.tls.transport import open_transports

log = logging.getLogger("weft.tls")

SLICE_S = 0.002
_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


class Revoked:
    """Made of CRLs (PEM, several in one text) that were accepted, so that they can be read."""

    __slots__ = ("_listed",)

    def __init__(self, pems: Iterable[bytes]) -> None:
        self._listed: set[tuple[bytes, int]] = set()
        for block in {block for pem in pems for block in _BLOCK.findall(pem)}:
            crl = x509.load_pem_x509_crl(block)
            issuer = crl.issuer.public_bytes()
            self._listed.update((issuer, one.serial_number) for one in crl)

    def __bool__(self) -> bool:
        return bool(self._listed)

    def has(self, der: bytes) -> bool:
        """Whether this certificate (DER) is on a list."""
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:  # OpenSSL has taken it, our reader has not; no list of ours names such
            return False
        return (certificate.issuer.public_bytes(), certificate.serial_number) in self._listed


def revoked_now() -> Revoked:
    """What was put in force last."""
    return _in_force[-1]


def put_in_force(revoked: Revoked) -> None:
    """From now on no handshake ends well with one of these, whichever lists it began with."""
    _in_force[:] = [revoked]


_in_force = [Revoked(())]


async def end_revoked(revoked: Revoked) -> int:
    """Ends each connection whose peer has shown a revoked certificate; how many there were. Others
    are served in between."""
    if not revoked:
        return 0
    ended = 0
    slice_began = monotonic()
    for transport in open_transports():
        der = transport.session.peer_der
        if der and not transport.is_closing() and revoked.has(der):
            transport.abort()
            ended += 1
        if monotonic() - slice_began > SLICE_S:
            await asyncio.sleep(0)
            slice_began = monotonic()
    if ended:
        log.warning("%d connections ended: their peers' certificates are revoked", ended)
    return ended
