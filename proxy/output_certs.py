"""Writes this workload's certificates to files, for programs that speak mutual TLS by themselves.

gRPC's `file_watcher` reads a private key in the clear and nothing else, so there it must stand: in
a folder that nobody else may enter, and only where --output-certs asks for it. The names of the
files are those of Istio's OUTPUT_CERTS. What is new counts for the mesh only when programs must
have read it: a rotation would else go on while they refuse each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from certs.errors import CertificateError
from certs.files import write_public, write_secret
from certs.keys import key_to_pem
from certs.x509 import chain_to_pem
from proxy.certificate_call import Svid
from proxy.identity import Identity

log = logging.getLogger("weft.identity")

CHAIN_FILE = "cert-chain.pem"
KEY_FILE = "key.pem"
ROOTS_FILE = "root-cert.pem"
SEEN_S = 2.0
"""After this time a program has read what was written: it is to look once a second."""

RETRY_S = 5.0


class OutputCerts:
    """`run` until cancelled."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self._folder = folder
        self._identity = identity
        self._svid: Svid | None = None
        self._roots: bytes | None = None  # as they stand in the file
        self._failed = asyncio.Event()
        identity.outlet = self

    async def give(self, svid: Svid | None) -> None:
        """An agent may find its own roots in a file that was changed before anybody was told."""
        before, self._svid = self._roots, svid or self._svid
        if not await self._try():
            self._failed.set()
        elif before is not None and (svid is not None or self._roots != before):
            await asyncio.sleep(SEEN_S)

    async def run(self) -> None:
        """Tries again what could not be written."""
        try:
            while True:
                await self._failed.wait()
                await asyncio.sleep(RETRY_S)
                if await self._try():
                    self._failed.clear()
        finally:
            (self._folder / KEY_FILE).unlink(missing_ok=True)  # nobody needs it any more

    async def _try(self) -> bool:
        try:
            roots = await self._identity.roots()
            await asyncio.to_thread(self._write, roots, self._svid)
        except (OSError, CertificateError) as error:
            log.error("certificates are not written to %s: %s", self._folder, error)
            return False
        self._roots = roots
        return True

    def _write(self, roots: bytes, svid: Svid | None) -> None:
        """gRPC takes key and chain only when they fit each other."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self._folder, 0o700)
        write_public(self._folder / ROOTS_FILE, roots)
        if svid is not None:
            write_secret(self._folder / KEY_FILE, key_to_pem(svid.key))
            write_public(self._folder / CHAIN_FILE, chain_to_pem(svid.chain))
