"""The authority at rest, in a state directory.

    root.pem        the roots that are trusted now: what clients are given (0644)
    ca/             (0700) made complete or not at all
      state.json    which authority signs, which rotation is under way; checksummed
      <id>/         an authority in Istio's cacerts layout (certs.cacerts)
      issued.log    what was issued (certs.issue_log)
    ca.lock         held while anybody writes

Made on first start, loaded on every other. What is there is never repaired behind anybody's back:
a file that is corrupt, missing or of another trust domain is refused by name. Only root.pem, which
follows from the rest, is written anew if a crash left it behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.cacerts import encrypt_key, key_is_encrypted, load_cacerts, save_cacerts
from certs.checked_file import read_checked, write_checked
from certs.errors import CertificateError
from certs.files import read_public, read_secret, sync_directory
from certs.keys import PrivateKey, key_from_pem
from certs.path import check_path_at
from certs.rotation import Phase, State
from certs.x509 import (
    Certificate,
    chain_from_pem,
    fingerprint,
    matches_key,
    public_key,
    validity,
)

ROOT_PEM = "root.pem"
CA_FOLDER = "ca"
STATE_FILE = "state.json"
CROSS_PEM = "cross-cert.pem"
_FORMER_KEY = "root.key"
_LOCK = "ca.lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredAuthority:
    """A snapshot. `bundle`: the roots of all that is trusted now.

    `other`: the new authority in STAGED and PREPARED, the retiring one in ISSUING. `cross`: the
    signing authority's root as the one before it has signed it, for whoever knows only that one.
    """

    authority: Authority
    bundle: TrustBundle
    state: State
    other: Authority | None = None
    cross: tuple[Certificate, ...] = ()


def open_store(
    state_dir: Path, trust_domain: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Loads the authority of `state_dir`, or makes one if there is none.

    With a passphrase the keys are encrypted at rest; those that are not yet, are now.
    CertificateError names the file at fault.
    """
    make_state_directory(state_dir)
    with locked(state_dir):
        if passphrase:
            _encrypt(state_dir / CA_FOLDER, passphrase)
        if not _exists(state_dir / CA_FOLDER):
            create(state_dir, _first(state_dir, trust_domain, now, passphrase), now, passphrase)
        stored = read_store(state_dir, passphrase)
        publish(state_dir, stored)
        _forget_former_key(state_dir, stored, passphrase)
    found = stored.authority.trust_domain
    if found != trust_domain:
        raise CertificateError(
            f"{state_dir / CA_FOLDER} is the authority of trust domain {found}, not "
            f"{trust_domain}: use that one, or another state directory"
        )
    _check_validity(state_dir, stored, now)
    return stored


def load_state(state_dir: Path) -> State:
    """How far a rotation is; no key is read. CertificateError names the file at fault."""
    return _read_record(state_dir / CA_FOLDER / STATE_FILE).state


def is_encrypted(state_dir: Path) -> bool:
    """Whether the key of the authority that signs needs a passphrase."""
    return key_is_encrypted(state_dir / CA_FOLDER / load_state(state_dir).issuing)


def load_store(
    state_dir: Path, now: float | None, passphrase: bytes | None = None
) -> StoredAuthority:
    """Loads what is there and makes nothing. CertificateError names the file at fault.

    Without `now` an authority that has expired is taken, too: to be looked at or replaced.
    """
    if _exists(state_dir / _LOCK):
        with locked(state_dir, shared=True):
            stored = read_store(state_dir, passphrase)
    else:
        stored = read_store(state_dir, passphrase)
    if now is not None:
        _check_validity(state_dir, stored, now)
    return stored


def read_store(state_dir: Path, passphrase: bytes | None = None) -> StoredAuthority:
    """For the holder of the lock: what is there, valid now or not."""
    folder = state_dir / CA_FOLDER
    if not _exists(folder / STATE_FILE):
        raise CertificateError(
            f"{folder / STATE_FILE} is missing: restore {folder} from a backup"
            if _exists(folder)
            else f"{state_dir} has no certificate authority ({CA_FOLDER}/{STATE_FILE}): "
            "name a state directory with --state-dir"
        )
    record = _read_record(folder / STATE_FILE)
    state = record.state
    authority = _load_one(folder, state.issuing, record.trust_domain, passphrase)
    other, bundle = None, authority.bundle
    if state.other:
        other = _load_one(folder, state.other, record.trust_domain, passphrase)
        if state.other in state.trusted:
            bundle = bundle.union(other.bundle)
    cross = _read_cross(folder / state.issuing / CROSS_PEM, authority)
    return StoredAuthority(authority, bundle, state, other, cross)


def make_state_directory(state_dir: Path) -> None:
    """Makes the directory (0700) if need be; CertificateError if strangers may change it."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = state_dir.stat().st_mode
    except OSError as error:
        raise CertificateError(f"state directory {state_dir}: {error.strerror}") from error
    if mode & stat.S_IWOTH:
        raise CertificateError(
            f"state directory {state_dir} may be written by everybody "
            f"(mode {stat.S_IMODE(mode):04o}): use a directory of its own, chmod 700"
        )


# ------------------------------------------------------------------ for certs.steps and certs.cli


@contextmanager
def locked(state_dir: Path, *, shared: bool = False) -> Iterator[None]:
    """Holds the store's lock; another process waits the milliseconds that a step takes."""
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        descriptor = os.open(state_dir / _LOCK, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CertificateError(f"{state_dir / _LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise CertificateError(f"state directory {state_dir}: {error}") from error
    finally:
        os.close(descriptor)


def create(
    state_dir: Path, authority: Authority, now: float, passphrase: bytes | None = None
) -> None:
    """Makes `ca/` with this authority; the lock must be held and nothing be there."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{CA_FOLDER}.", dir=state_dir))
    try:
        save_cacerts(temporary / authority.id, authority, passphrase)
        _write_record(temporary, _Record(authority.trust_domain, State(authority.id, since=now)))
        os.rename(temporary, state_dir / CA_FOLDER)
    except BaseException:
        shutil.rmtree(temporary)
        raise
    sync_directory(state_dir)


def commit(state_dir: Path, state: State, stored: StoredAuthority) -> None:
    """Makes `state` follow `stored`, the snapshot that it was derived from."""
    former = tuple(map(fingerprint, stored.bundle.roots))
    record = _Record(stored.authority.trust_domain, state, former)
    _write_record(state_dir / CA_FOLDER, record)


def publish(state_dir: Path, stored: StoredAuthority) -> None:
    """Brings root.pem up to date. CertificateError if it holds roots of somebody else."""
    path = state_dir / ROOT_PEM
    if _exists(path):
        there = TrustBundle.load(path)
        if there == stored.bundle:
            return
        known = {*_read_record(state_dir / CA_FOLDER / STATE_FILE).former_roots}
        known |= set(map(fingerprint, stored.bundle.roots))
        if not known.issuperset(map(fingerprint, there.roots)):
            raise CertificateError(
                f"{path} holds roots that are not of {state_dir / CA_FOLDER}: it is written by "
                "Weft alone; move it away to have it written anew"
            )
    stored.bundle.save(path)


@dataclass(frozen=True, slots=True)
class _Record:
    """state.json. `former_roots`: fingerprints of what was trusted before the last step."""

    trust_domain: str
    state: State
    former_roots: tuple[str, ...] = ()


def _read_record(path: Path) -> _Record:
    payload = read_checked(path)
    try:
        if payload["format"] != _FORMAT:
            raise CertificateError(f"{path} is of another version of Weft: use that one")
        fields: dict[str, Any] = dict(payload["state"])
        fields |= {"phase": Phase(fields["phase"]), "retired": tuple(fields["retired"])}
        return _Record(payload["trust_domain"], State(**fields), tuple(payload["former_roots"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path} is corrupt: restore it from a backup") from error


def _write_record(folder: Path, record: _Record) -> None:
    write_checked(folder / STATE_FILE, {"format": _FORMAT, **asdict(record)})


def _encrypt(folder: Path, passphrase: bytes) -> None:
    if _exists(folder / STATE_FILE):
        state = _read_record(folder / STATE_FILE).state
        for name in filter(None, (state.issuing, state.other)):
            encrypt_key(folder / name, passphrase)


def _load_one(folder: Path, name: str, trust_domain: str, passphrase: bytes | None) -> Authority:
    authority = load_cacerts(folder / name, None, trust_domain, passphrase)
    if authority.id != name:
        raise CertificateError(
            f"the certificates of {folder / name} are not those that were put there: restore the "
            "folder from a backup (another authority comes in by weft ca rotate --from)"
        )
    return authority


def _read_cross(path: Path, authority: Authority) -> tuple[Certificate, ...]:
    if not _exists(path):
        return ()
    (cross,) = chain_from_pem(read_public(path), str(path))[:1]
    if public_key(cross) != public_key(authority.root):
        raise CertificateError(f"{path} does not belong to {authority.id}: restore it")
    return (cross,)


def _check_validity(state_dir: Path, stored: StoredAuthority, now: float) -> None:
    try:
        check_path_at(stored.authority.path, now)
    except CertificateError as error:
        over = any(validity(one)[1] < now for one in stored.authority.path)
        hint = " (a new authority: weft ca rotate)" if over else ""
        raise CertificateError(
            f"{state_dir / CA_FOLDER / stored.authority.id}: {error}{hint}"
        ) from error


def _first(state_dir: Path, trust_domain: str, now: float, passphrase: bytes | None) -> Authority:
    """The authority to begin with: a new one, or the one that an earlier version has made."""
    pem, former = state_dir / ROOT_PEM, state_dir / _FORMER_KEY
    if not _exists(pem) and not _exists(former):
        return Authority.create(trust_domain, now)
    if not _exists(former):
        raise CertificateError(
            f"{state_dir / CA_FOLDER} is missing, though {pem} is there: restore it from a backup, "
            f"or move {ROOT_PEM} away to begin with a new root (every proxy must then rejoin)"
        )
    bundle = TrustBundle.load(pem)
    key = _former_key(former, passphrase)
    for root in bundle.roots:
        if matches_key(root, key.public_key()):
            return Authority(root, key, bundle=bundle)
    raise CertificateError(f"{former} does not belong to any certificate of {pem}")


def _forget_former_key(state_dir: Path, stored: StoredAuthority, passphrase: bytes | None) -> None:
    """What an earlier version has left: its key is in `ca/` now, and one place is enough."""
    path = state_dir / _FORMER_KEY
    if not _exists(path):
        return
    if not matches_key(stored.authority.certificate, _former_key(path, passphrase).public_key()):
        raise CertificateError(
            f"{path} is of an earlier version and not the key of {state_dir / CA_FOLDER}: "
            "move it away"
        )
    path.unlink()


def _former_key(path: Path, passphrase: bytes | None) -> PrivateKey:
    try:
        return key_from_pem(read_secret(path), passphrase)
    except CertificateError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise CertificateError(f"{prefix}{error}") from error


def _exists(path: Path) -> bool:
    return os.path.lexists(path)
