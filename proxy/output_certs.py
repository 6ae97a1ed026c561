"""Writes this workload's certificates to files, for programs that speak mutual TLS by themselves.

gRPC's `file_watcher` reads a private key in the clear and nothing else, so there it must stand: in
a folder that nobody else may enter, and only where --output-certs asks for it. The names of the
files are those of Istio's OUTPUT_CERTS. What is written is what the proxy itself has: anew at each
renewal, and when the mesh names other roots.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from certs.errors import CertificateError
from certs.files import write_public, write_secret
from proxy.identity import Identity

log = logging.getLogger("weft.identity")

CHAIN_FILE = "cert-chain.pem"
KEY_FILE = "key.pem"
ROOTS_FILE = "root-cert.pem"
RETRY_S = 5.0


class OutputCerts:
    """`run` until cancelled."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._folder = folder
        self._identity = identity
        self._news = asyncio.Event()
        identity.listen(lambda secret: self._news.set())
        identity.on_roots = self._news.set

    async def run(self) -> None:
        try:
            await self._follow()
        finally:
            (self._folder / KEY_FILE).unlink(missing_ok=True)  # nobody needs it any more

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                roots = await self._identity.roots()
                await asyncio.to_thread(self._write, roots)
            except (OSError, CertificateError) as error:
                log.error("certificates are not written to %s: %s", self._folder, error)
                await asyncio.sleep(RETRY_S)
                self._news.set()

    def _write(self, roots: bytes) -> None:
        """The roots first: who has a new certificate may be asked by those who have new roots, and
        gRPC takes key and chain only when they fit each other."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self._folder, 0o700)
        write_public(self._folder / ROOTS_FILE, roots)
        secret = self._identity.secret
        if secret is not None and secret.certificate is not None:
            write_secret(self._folder / KEY_FILE, secret.certificate.private_key.data)
            write_public(self._folder / CHAIN_FILE, secret.certificate.chain.data)
