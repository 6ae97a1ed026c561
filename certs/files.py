"""Files that hold secrets: written atomically, never readable by strangers, refused if they are.

Written beside the target, synced and renamed over it: a reader sees the old file or the new one,
also after a crash. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from certs.errors import CertificateError

MAX_FILE_BYTES = 1 << 20
_STRANGERS = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def write_secret(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, mode 0600. OSError as the file system gives it."""
    _replace(path, data, 0o600)


def create_secret(path: Path, data: bytes) -> None:
    """Makes `path`, mode 0600, all at once; FileExistsError if it is there already."""
    temporary = _write_temporary(path, data, 0o600)
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    sync_directory(path.parent)


def write_public(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, mode 0644."""
    _replace(path, data, 0o644)


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = _write_temporary(path, data, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(path.parent)


def _write_temporary(path: Path, data: bytes, mode: int) -> str:
    """A synced file beside `path`; gone again if anything fails."""
    # mkstemp makes it 0600: at no moment does a secret lie open under any name.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_secret(path: Path) -> bytes:
    """The bytes of a secret file; CertificateError if others may read or change it.

    The group may read: that is how Kubernetes mounts secrets for a process that is not root.
    """
    return _read(path, secret=True)


def read_public(path: Path) -> bytes:
    """The bytes of a file that anybody may read; CertificateError if there is none."""
    return _read(path, secret=False)


def version_of(path: Path) -> tuple[int, int, int]:
    """Changes with the file, also when a mounted volume's symlink is swapped; zeros: none there."""
    try:
        facts = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size)


def _read(path: Path, *, secret: bool) -> bytes:
    try:
        # O_NONBLOCK: a named pipe must not hang the process before it can be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    try:
        _check_file(path, os.fstat(descriptor), secret=secret)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _check_file(path: Path, facts: os.stat_result, *, secret: bool) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise CertificateError(f"{path} is not a regular file")
    if facts.st_size > MAX_FILE_BYTES:
        raise CertificateError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    if secret and facts.st_mode & _STRANGERS:
        mode = stat.S_IMODE(facts.st_mode)
        raise CertificateError(
            f"{path} holds a secret but has mode {mode:04o}: make it private with chmod 600 "
            "(of a Kubernetes secret volume: defaultMode 0400)"
        )
