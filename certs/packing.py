"""The authority of a state directory as plain values, for another machine; and back.

    files = pack(state_dir)                    # {"ca/state.json": b"...", ...}
    unpack(files, scratch)                     # below a directory of its own, to be looked at
    take(state_dir, scratch, passphrase)       # from there, in the place of what there was

The issue log stays where it was written. Keys are as they lie on the disk: encrypted, if there is a
passphrase. Knows nothing of how the values travel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_secret, sync_directory, write_secret
from certs.issue_log import ISSUE_LOG
from certs.rotation import State
from certs.store import CA_FOLDER, ROOT_PEM, StoredAuthority, locked, read_store

_NAME = re.compile(rf"{CA_FOLDER}(/[A-Za-z0-9_-][A-Za-z0-9._-]*){{1,2}}\Z")


def pack(state_dir: Path) -> dict[str, bytes]:
    """Blocks on the disk. CertificateError names the file that can't be read."""
    with locked(state_dir, shared=True):
        folder = state_dir / CA_FOLDER
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        kept = [path for path in paths if not path.name.startswith(ISSUE_LOG)]
        return {str(path.relative_to(state_dir)): _read(path) for path in kept}


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """CertificateError: they are no authority's."""
    for name, data in files.items():
        if not _NAME.match(name):
            raise CertificateError(f"{name!a} is no file of an authority")
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(path, data)


def take(state_dir: Path, scratch: Path, passphrase: bytes | None) -> StoredAuthority:
    """Moves what was unpacked to `scratch`, a directory within state_dir, to its place. A crash
    between two moves leaves no authority there; it is to be taken again then."""
    with locked(state_dir):
        stored = read_store(scratch, passphrase)
        new, old = scratch / CA_FOLDER, state_dir / CA_FOLDER
        if os.path.lexists(old):
            for log in old.glob(f"{ISSUE_LOG}*"):
                os.link(log, new / log.name)  # the same file: it is being written
            os.rename(old, scratch / "former")
        os.rename(new, old)
        sync_directory(state_dir)
        stored.bundle.save(state_dir / ROOT_PEM)
        return stored


def is_newer(state: State, than: State) -> bool:
    """Whether `than` has become `state`, by steps of a rotation. Both False: they have nothing to
    do with each other, or are the same."""
    if than.issuing in state.retired:
        return True
    return than.issuing in (state.issuing, state.other) and state.since > than.since


def is_same(state: State, other: State) -> bool:
    """When a phase began does not matter: replicas that were given the same folder differ."""
    return (state.issuing, state.phase, state.other) == (other.issuing, other.phase, other.other)


def _read(path: Path) -> bytes:
    """Certificates beside the key may be open to all; their folder is not."""
    try:
        return read_secret(path)
    except CertificateError:
        return path.read_bytes()
