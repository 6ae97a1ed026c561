"""What was last got of each trust domain, in STATE/federation: a restart forgets nothing.

Without it a mesh whose endpoint proves itself by its own certificates would be lost after its roots
have rotated away from the configured first bundle. A file that can't be read is no bundle.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_public, write_public
from certs.spiffe_bundle import SpiffeBundle, emit_bundle

log = logging.getLogger("weft.controlplane.federation")

FOLDER = "federation"


class Shelf:
    """Files block: `put` belongs in a worker thread."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def get(self, trust_domain: str) -> tuple[SpiffeBundle, float] | None:
        """The bundle, and when it was got (Unix seconds)."""
        path = self._path(trust_domain)
        if not path.exists():
            return None
        try:
            bundle = SpiffeBundle.parse(read_public(path))
            bundle.check_usable()
            return bundle, path.stat().st_mtime
        except (CertificateError, OSError) as error:
            log.error("%s is left aside: %s", path, error)
            return None

    def put(self, trust_domain: str, bundle: SpiffeBundle, now: float) -> None:
        path = self._path(trust_domain)
        hint = bundle.refresh_hint_s or 0
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_public(path, emit_bundle(bundle.roots, bundle.sequence or 0, hint))
            os.utime(path, (now, now))
        except OSError as error:
            log.error("the bundle of trust domain %s is not kept: %s", trust_domain, error)

    def _path(self, trust_domain: str) -> Path:
        # A trust domain's characters are harmless in a file name, its dots have company.
        return self._folder / f"{trust_domain}.json"
