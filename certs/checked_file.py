"""JSON files of state that know whether they are whole: a SHA-256 stands beside what it is of.

Written atomically, 0600; one that was cut, changed or mixed up is refused by name and never
replaced. Knows nothing of what the values mean.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from certs.errors import CertificateError
from certs.files import read_secret, write_secret


def write_checked(path: Path, payload: dict[str, Any]) -> None:
    """Replaces the file. OSError as the file system gives it."""
    text = json.dumps({"sha256": _digest(payload), "payload": payload}, indent=1)
    write_secret(path, text.encode() + b"\n")


def read_checked(path: Path) -> dict[str, Any]:
    """The payload; CertificateError names the file and says what is wrong with it."""
    try:
        found = json.loads(read_secret(path))
        payload, digest = found["payload"], found["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CertificateError(f"{path} is corrupt: restore it from a backup") from error
    if not isinstance(payload, dict) or digest != _digest(payload):
        raise CertificateError(
            f"{path} was changed or damaged (its checksum does not fit): restore it from a backup"
        )
    return payload


def _digest(payload: dict[str, Any]) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
