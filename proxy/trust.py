"""Whom this proxy believes to be the control plane: the roots of a file, or those that came since.

The file is what the proxy was started with; the mesh's trust bundle comes over ADS and is kept in
STATE/trust.json, with a digest of what the file said then. Whichever changed last counts: a root
that was retired while the file stayed as it was is not believed again after a restart, and a file
that somebody has replaced is. Blocking; knows neither streams nor what else the bundle is good for.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.files import read_public, write_public

log = logging.getLogger("weft.identity")

FILE = "trust.json"


class Trust:
    """state_dir None: what came is forgotten with the process."""

    __slots__ = ("_bundle", "_file", "_file_sha256", "_kept")

    def __init__(self, file: Path, state_dir: Path | None) -> None:
        self._file = file
        self._kept = state_dir / FILE if state_dir is not None else None
        self._bundle = b""
        self._file_sha256 = ""

    def load(self) -> None:
        """What a former run was told; anything wrong with it is logged, and the file counts."""
        if self._kept is None or not self._kept.exists():
            return
        try:
            found = json.loads(read_public(self._kept))
            bundle = TrustBundle.from_pem(found["bundle"].encode(), str(self._kept))
            self._bundle, self._file_sha256 = bundle.to_pem(), str(found["file_sha256"])
        except (CertificateError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s not used, %s counts: %s", self._kept, self._file, error)

    def roots(self) -> bytes:
        """PEM. CertificateError when the file cannot be read and nothing else is known."""
        try:
            data = read_public(self._file)
        except CertificateError:
            if not self._bundle:
                raise
            return self._bundle
        return self._bundle if self._bundle and _sha256(data) == self._file_sha256 else data

    def take(self, pem: bytes) -> bool:
        """The mesh's bundle has come: whether other roots are believed now. CertificateError if it
        holds none; then everything is as it was."""
        bundle = TrustBundle.from_pem(pem, "the mesh's trust bundle")
        try:
            before = TrustBundle.from_pem(self.roots()).roots
            self._file_sha256 = _sha256(read_public(self._file))
        except CertificateError:
            before = ()
        self._bundle = bundle.to_pem()
        self._keep()
        return set(before) != set(bundle.roots)

    def _keep(self) -> None:
        if self._kept is None:
            return
        told = {"bundle": self._bundle.decode("ascii"), "file_sha256": self._file_sha256}
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_public(self._kept, json.dumps(told).encode())
        except OSError as error:
            log.error("the mesh's trust bundle is not kept on disk: %s", error)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
