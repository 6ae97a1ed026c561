"""The log of what was issued: one line of JSON for each certificate, appended, never changed.

Bounded: a full file becomes `issued.log.1`, and so on up to KEPT; the oldest goes. A line is one
write, so that several processes may append; no fsync, for a lost last line harms nobody. A line
that a crash has cut is skipped by readers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path

from certs.errors import CertificateError

ISSUE_LOG = "issued.log"
MAX_BYTES = 8 << 20
KEPT = 4


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate: serial in hex, times in Unix seconds, and who asked for it and how."""

    serial: str
    identity: str
    asked_by: str
    not_after: float
    at: float


class IssueLog:
    """Appends to `folder/issued.log`, 0600. OSError as the file system gives it."""

    __slots__ = ("_file", "_kept", "_max_bytes", "_path", "_size")

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = folder / ISSUE_LOG
        self._max_bytes = max_bytes
        self._kept = kept
        self._file, self._size = _open(self._path)

    def record(self, issued: Issued) -> None:
        line = _line(issued)
        if self._size + len(line) > self._max_bytes and self._size:
            self._turn()
        self._size += os.write(self._file, line)

    def close(self) -> None:
        os.close(self._file)

    def _turn(self) -> None:
        os.close(self._file)
        for number in range(self._kept - 1, 0, -1):
            older = numbered(self._path, number)
            if older.exists():
                os.replace(older, numbered(self._path, number + 1))
        os.replace(self._path, numbered(self._path, 1))
        self._file, self._size = _open(self._path)


def read_issues(folder: Path) -> Iterator[Issued]:
    """What the log still has, the oldest first. CertificateError if a file can't be read."""
    path = folder / ISSUE_LOG
    numbers = sorted(
        (
            int(found.suffix[1:])
            for found in folder.glob(f"{ISSUE_LOG}.*")
            if found.suffix[1:].isdigit()
        ),
        reverse=True,
    )
    for each in (*(numbered(path, number) for number in numbers), path):
        try:
            with each.open("rb") as file:
                yield from filter(None, map(_read, file))
        except FileNotFoundError:
            continue  # not there yet, or turned while we read
        except OSError as error:
            raise CertificateError(f"{each}: {error.strerror}") from error


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _open(path: Path) -> tuple[int, int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # A crash has cut the last line: the next one must not become part of it.
        size += os.write(descriptor, b"\n")
    return descriptor, size


def _line(issued: Issued) -> bytes:
    """As `json.dumps` without spaces, in a third of the time."""
    return (
        f'{{"serial":{_quoted(issued.serial)},"identity":{_quoted(issued.identity)},'
        f'"asked_by":{_quoted(issued.asked_by)},"not_after":{issued.not_after!r},'
        f'"at":{issued.at!r}}}\n'
    ).encode("ascii")


def _read(line: bytes) -> Issued | None:
    try:
        found = json.loads(line)
        times = float(found["not_after"]), float(found["at"])
        return Issued(found["serial"], found["identity"], found["asked_by"], *times)
    except (ValueError, TypeError, KeyError):
        return None
