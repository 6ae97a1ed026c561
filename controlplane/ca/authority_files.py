"""An authority that somebody else keeps in a folder: Istio's `cacerts`, or a kubernetes.io/tls
secret with `ca.crt` that cert-manager renews.

The folder is only read. What it holds first becomes the authority of the state directory; what it
holds later is a rotation, which is led as any other: no certificate of the old one stops counting
before everybody has a new one. A folder that is half written is left alone until it is whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from certs.authority import Authority
from certs.cacerts import CACERTS, CRL_PEM, TLS_SECRET, key_is_encrypted, load_cacerts
from certs.errors import CertificateError
from certs.files import version_of
from certs.store import CA_FOLDER, create, locked, make_state_directory
from controlplane.ca.live import LiveAuthority

log = logging.getLogger("weft.controlplane.ca")

LOOK_EVERY_S = 1.0
# Kubernetes swaps this link, so that all files of a mount change at once.
_DATA = "..data"
_NAMES = tuple(
    name
    for layout in (CACERTS, TLS_SECRET)
    for name in (layout.certificate, layout.key, layout.roots, layout.chain, CRL_PEM)
    if name
)
Version = tuple[tuple[int, int, int], ...]


def adopt(
    folder: Path, state_dir: Path, trust_domain: str, now: float, passphrase: bytes | None = None
) -> None:
    """Makes the folder's authority that of a state directory which has none yet. With a passphrase
    its key is encrypted there.

    CertificateError: the folder holds no authority that may sign for this trust domain.
    """
    make_state_directory(state_dir)
    with locked(state_dir):
        if not os.path.lexists(state_dir / CA_FOLDER):
            found = _load(folder, trust_domain, now, passphrase)
            create(state_dir, found, now, passphrase)


class AuthorityFiles:
    """`run` until cancelled. begin starts a rotation to an authority, and raises CertificateError
    while another is under way. relist takes other revocation lists (PEM, and what they are)."""

    def __init__(
        self,
        folder: Path,
        authority: LiveAuthority,
        begin: Callable[[Authority], Awaitable[None]],
        relist: Callable[[bytes, str], Awaitable[None]],
        clock: Callable[[], float],
        passphrase: bytes | None = None,
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._begin = begin
        self._relist = relist
        self._clock = clock
        self._passphrase = passphrase
        self._done: Version = ()
        self._said = ""

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Begins a rotation if the folder holds an authority that is new. What goes wrong is
        logged, once, and tried again."""
        version = _version(self._folder)
        if version == self._done:
            return
        try:
            trust_domain = self._authority.trust_domain
            what = (self._folder, trust_domain, self._clock(), self._passphrase)
            found = await asyncio.to_thread(_load, *what)
            state = self._authority.stored.state
            if found.id not in (state.issuing, state.other):
                log.warning("%s holds another authority: rotating to %s", self._folder, found.id)
                await self._begin(found)
            elif found.id == state.issuing and _pem(found) != _pem(self._authority.authority):
                log.warning("%s holds other revocation lists", self._folder)
                await self._relist(_pem(found), str(self._folder / CRL_PEM))
        except (CertificateError, OSError) as error:
            if str(error) != self._said:
                log.error("%s is not taken: %s", self._folder, error)
            self._said = str(error)
            return
        self._said = ""
        self._done = version


def _load(folder: Path, trust_domain: str, now: float, passphrase: bytes | None) -> Authority:
    """Of one generation: while a link is swapped, one folder is read to the end. The passphrase is
    for a key that is encrypted; another needs none."""
    generation = folder / _DATA
    whole = generation.resolve() if generation.is_symlink() else folder
    encrypted = passphrase is not None and key_is_encrypted(whole)
    return load_cacerts(whole, now, trust_domain, passphrase if encrypted else None)


def _pem(authority: Authority) -> bytes:
    return b"".join(one.pem for one in authority.lists)


def _version(folder: Path) -> Version:
    """Changes with any of the files, also when a link is swapped."""
    return tuple(version_of(folder / name) for name in _NAMES)
