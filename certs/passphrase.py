"""The passphrase of a key at rest, from where the operator says: a file, or the environment.

Options and logs name the place only. Knows nothing of keys.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_secret

ENVIRONMENT = "env:"


def read_passphrase(place: str, environment: MutableMapping[str, str]) -> bytes:
    """`env:NAME`, which is taken out of `environment` so that no child inherits it, or a file's
    path; the line end after it is no part of it. CertificateError: there is none, it is empty, or
    others may read the file."""
    if place.startswith(ENVIRONMENT):
        name = place.removeprefix(ENVIRONMENT)
        if name not in environment:
            raise CertificateError(f"the environment has no {name!a}, which should be a passphrase")
        found = environment.pop(name).encode(errors="surrogateescape")
    else:
        found = read_secret(Path(place)).rstrip(b"\r\n")
    if not found:
        raise CertificateError(f"the passphrase in {place} is empty")
    return found
