"""The authority at rest: a state directory (0700) with `root.key` (0600) and `root.pem`.

Made on first start, loaded on every other. What is there is never overwritten: a file that is
corrupt, missing its partner or of another trust domain is refused by name. A lock keeps two
processes that start at once from making two roots.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.files import read_secret, write_secret
from certs.keys import PrivateKey, generate_key, key_from_pem, key_to_pem
from certs.x509 import Certificate, check_valid_at, matches_key

ROOT_KEY = "root.key"
ROOT_PEM = "root.pem"
_LOCK = "root.lock"


@dataclass(frozen=True, slots=True)
class StoredAuthority:
    """The authority, and the whole trust bundle of `root.pem`, which may hold older roots too."""

    authority: Authority
    bundle: TrustBundle


def open_store(
    state_dir: Path, trust_domain: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Loads the authority of `state_dir`, or makes it if neither of its files is there.

    With a passphrase the key is encrypted at rest. CertificateError names the file at fault.
    """
    make_state_directory(state_dir)
    with _locked(state_dir):
        if not _exists(state_dir / ROOT_KEY) and not _exists(state_dir / ROOT_PEM):
            _create(state_dir, trust_domain, now, passphrase)
        stored = load_store(state_dir, now, passphrase)
    found = stored.authority.trust_domain
    if found != trust_domain:
        raise CertificateError(
            f"{state_dir / ROOT_PEM} is the root of trust domain {found}, not {trust_domain}: "
            "use that one, or another state directory"
        )
    return stored


def load_store(state_dir: Path, now: float, passphrase: bytes | None = None) -> StoredAuthority:
    """Loads what is there and makes nothing. CertificateError names the file at fault."""
    key_path, pem_path = state_dir / ROOT_KEY, state_dir / ROOT_PEM
    for path in (key_path, pem_path):
        if not _exists(path):
            raise CertificateError(
                f"{path} is missing: {ROOT_KEY} and {ROOT_PEM} belong together; put it back, or "
                "move the other one away to begin with a new root (every proxy must then rejoin)"
            )
    pem = read_secret(key_path)
    try:
        key = key_from_pem(pem, passphrase)
    except CertificateError as error:
        raise CertificateError(f"{key_path}: {error}") from error
    bundle = TrustBundle.load(pem_path)
    root = _root_of(bundle, key, state_dir)
    try:
        authority = Authority(root, key)
    except CertificateError as error:
        raise CertificateError(f"{pem_path}: {error}") from error
    check_valid_at(root, now, str(pem_path))
    return StoredAuthority(authority, bundle)


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


def _create(state_dir: Path, trust_domain: str, now: float, passphrase: bytes | None) -> None:
    key_path, pem_path = state_dir / ROOT_KEY, state_dir / ROOT_PEM
    key = generate_key()
    authority = Authority.create(trust_domain, now, key)
    try:
        # The key first: a bundle without a key would be trusted by proxies and sign nothing.
        write_secret(key_path, key_to_pem(key, passphrase))
        authority.bundle.save(pem_path)
    except OSError as error:
        raise CertificateError(f"state directory {state_dir}: {error.strerror}") from error


def _root_of(bundle: TrustBundle, key: PrivateKey, state_dir: Path) -> Certificate:
    """The root of the bundle that the key belongs to."""
    for root in bundle.roots:
        if matches_key(root, key.public_key()):
            return root
    raise CertificateError(
        f"{state_dir / ROOT_KEY} does not belong to any certificate of {state_dir / ROOT_PEM}"
    )


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Holds the directory's lock; another process waits the milliseconds that this takes."""
    try:
        descriptor = os.open(state_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CertificateError(f"{state_dir / _LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
