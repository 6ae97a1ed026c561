"""The store that the options name, made and not yet opened."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_public, read_secret
from certs.passphrase import read_passphrase
from controlplane.mesh.model import Position, Status
from controlplane.sources.store.etcd.client import Access, EtcdClient
from controlplane.sources.store.etcd.store import EtcdStore
from controlplane.sources.store.place import EtcdPlace, SqlitePlace, StoreOptions, parse_place
from controlplane.sources.store.sqlite import SqliteStore
from controlplane.sources.store.values import StoreError


def make_store(
    options: StoreOptions,
    state_dir: Path,
    environment: MutableMapping[str, str],
    told: Callable[[str], None],
) -> SqliteStore | EtcdStore:
    """told: gets why a shared store is away, '' when it is there again. Raises StoreError."""
    place = parse_place(options, state_dir)
    if isinstance(place, SqlitePlace):
        return SqliteStore(place.path)
    access = _access(options, place, environment)
    return EtcdStore(place, EtcdClient(place.endpoints, access), told)


def away(place: str, why: str) -> Status:
    """What is said of a store that is away."""
    message = (
        f"the store {place} is away: {why}; what was applied before stays in force, and nothing "
        "can be applied or deleted until it is back"
    )
    return Status(Position(place), "warning", "StoreAway", f"Store {place}", message)


def _access(
    options: StoreOptions, place: EtcdPlace, environment: MutableMapping[str, str]
) -> Access:
    try:
        password = options.password_file and read_passphrase(options.password_file, environment)
        return Access(
            tls=place.tls,
            ca=read_public(options.ca) if options.ca else None,
            certificate=read_public(options.certificate) if options.certificate else None,
            key=read_secret(options.key) if options.key else None,
            user=options.user,
            password=password.decode() if isinstance(password, bytes) else "",
        )
    except (CertificateError, UnicodeDecodeError) as error:
        raise StoreError(f"--store {options.place}: {error}") from None
