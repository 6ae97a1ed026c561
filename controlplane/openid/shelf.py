"""The keys that were last got of each issuer, in STATE/openid: a restart forgets nothing.

Without it a mesh that starts while a provider is away would refuse its tokens. A file that can't be
read is no keys.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_public, write_public
from controlplane.openid.document import public_keys
from controlplane.openid.followed import Keys

log = logging.getLogger("weft.controlplane.openid")

FOLDER = "openid"


class Shelf:
    """Files block: `put` belongs in a worker thread."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def get(self, issuer: str) -> tuple[Keys, float] | None:
        """The keys, and when they were last confirmed (Unix seconds)."""
        path = self._path(issuer)
        if not path.exists():
            return None
        try:
            found = json.loads(read_public(path))
            if found["issuer"] != issuer:
                raise ValueError("of another issuer")
            text = public_keys(str(found["keys"]).encode())
            return Keys(str(found["url"]), text, float(found["since"])), float(found["got_at"])
        except (
            CertificateError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            log.error("%s is left aside: %s", path, error)
            return None

    def put(self, issuer: str, keys: Keys, got_at: float) -> None:
        path = self._path(issuer)
        content = {
            "issuer": issuer,
            "url": keys.url,
            "keys": keys.text,
            "since": keys.since,
            "got_at": got_at,
        }
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_public(path, json.dumps(content).encode())
        except OSError as error:
            log.error("the keys of %s are not kept: %s", issuer, error)

    def _path(self, issuer: str) -> Path:
        return self._folder / f"{hashlib.sha256(issuer.encode()).hexdigest()}.json"
