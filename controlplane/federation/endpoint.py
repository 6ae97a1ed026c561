"""Our own SPIFFE bundle endpoint: GET / answers the mesh's bundle as a JWKS document.

https_spiffe: the server shows the control plane's own SVID; https_web: a certificate of the web
from two files. Both are looked at for each new connection, so that they may rotate at any time.
There is nothing secret in the answer, and nobody is asked who it is.
"""

from __future__ import annotations

import logging
import secrets
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from certs.errors import CertificateError
from certs.files import read_public, read_secret
from certs.keys import key_from_pem, key_to_pem
from certs.spiffe_bundle import emit_bundle
from controlplane.ca.live import LiveAuthority
from controlplane.federation.hints import REFRESH_HINT_S
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.federation")


@frozen
class Shown:
    """What the server proves itself with: PEM of the chain and of the key."""

    chain_pem: bytes
    key_pem: bytes


class BundleEndpoint:
    """`shown` is asked for each connection; CertificateError while it can't be had."""

    def __init__(self, authority: LiveAuthority, shown: Callable[[], Shown]) -> None:
        self._authority = authority
        self._shown = shown
        self._current = shown()
        self._context = _context(self._current)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/", self._bundle)
        return application

    def tls(self) -> ssl.SSLContext:
        """For the listening socket. Each handshake is done with a context of what is shown now;
        the swap is safe, as no certificate is asked of clients."""
        outer = _context(self._current)
        outer.sni_callback = self._swap
        return outer

    async def _bundle(self, request: web.Request) -> web.Response:
        stored = self._authority.stored
        body = emit_bundle(stored.bundle.roots, int(stored.state.since), REFRESH_HINT_S)
        return web.Response(body=body, content_type="application/json")

    def _swap(self, connection: ssl.SSLObject, name: str | None, outer: ssl.SSLContext) -> None:
        try:
            shown = self._shown()
            if shown != self._current:
                self._context = _context(shown)
                self._current = shown
        except CertificateError as error:
            log.error("the bundle endpoint shows the certificate that it had: %s", error)
        connection.context = self._context


def from_files(chain: Path, key: Path) -> Shown:
    """A pair that somebody else renews, e.g. cert-manager. CertificateError names a bad file."""
    return Shown(read_public(chain), read_secret(key))


def _context(shown: Shown) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The module reads keys from files alone; on disk it is encrypted under a word nobody knows.
    word = secrets.token_bytes(32).hex().encode()
    with tempfile.NamedTemporaryFile(prefix="weft-", suffix=".pem") as file:
        file.write(shown.chain_pem + b"\n" + key_to_pem(key_from_pem(shown.key_pem), word))
        file.flush()
        try:
            context.load_cert_chain(file.name, password=word)
        except ssl.SSLError as error:
            raise CertificateError(f"certificate and key can't be served: {error}") from error
    return context
