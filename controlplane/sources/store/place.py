"""Where a store is, as users say it: `sqlite:PATH` or `etcd://HOST[:PORT][,HOST...]/PREFIX`.

Pure. TLS to etcd unless it is on this machine and no certificate was named.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from controlplane.sources.store.sqlite import FILE
from controlplane.sources.store.values import StoreError
from protos.frozen import frozen

EXPECTED = "expected sqlite:PATH or etcd://HOST[:PORT][,HOST...]/PREFIX"
ETCD_PORT = "2379"
DEFAULT_PREFIX = "weft"
_PORT = re.compile(r"[0-9]{1,5}\Z")
_HOST = re.compile(r"[A-Za-z0-9._-]+\Z|\[[0-9A-Fa-f:.]+\]\Z")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]+\Z")


@frozen
class StoreOptions:
    """As they stand on the command line. password_file: a path or env:NAME."""

    place: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: str = ""


@frozen
class SqlitePlace:
    path: Path


@frozen
class EtcdPlace:
    """endpoints: host:port. prefix: of all names, ends with a slash."""

    endpoints: tuple[str, ...]
    prefix: str
    tls: bool

    def __str__(self) -> str:
        return f"etcd://{','.join(self.endpoints)}/{self.prefix.rstrip('/')}"


def parse_place(options: StoreOptions, state_dir: Path) -> SqlitePlace | EtcdPlace:
    """'' is a file in the state directory. Raises StoreError."""
    text = options.place
    scheme, colon, rest = text.partition(":")
    if not text or scheme == "sqlite":
        _only_for_etcd(options)
        if colon and not rest:
            raise StoreError(f"--store {text}: {EXPECTED}")
        return SqlitePlace(Path(rest) if rest else state_dir / FILE)
    if scheme != "etcd" or not rest.startswith("//"):
        raise StoreError(f"--store {text}: {EXPECTED}")
    hosts, _, prefix = rest[2:].partition("/")
    endpoints = tuple(_endpoint(one, text) for one in hosts.split(","))
    prefix = prefix.strip("/") or DEFAULT_PREFIX
    if not _PREFIX.match(prefix):
        raise StoreError(f"--store {text}: a prefix has letters, digits, '.', '_', '-' and '/'")
    return EtcdPlace(endpoints, f"{prefix}/", _tls(options, endpoints))


def _only_for_etcd(options: StoreOptions) -> None:
    given = {
        "--store-ca": options.ca,
        "--store-certificate": options.certificate,
        "--store-key": options.key,
        "--store-user": options.user,
        "--store-password-file": options.password_file,
    }
    for name, value in given.items():
        if value:
            raise StoreError(f"{name} is for --store etcd://HOST:PORT/PREFIX")


def _endpoint(text: str, place: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ETCD_PORT
    if not _HOST.match(host) or not _PORT.match(port) or not 0 < int(port) < 65536:
        raise StoreError(f"--store {place}: {text!r} is no HOST:PORT; {EXPECTED}")
    return f"{host}:{port}"


def _tls(options: StoreOptions, endpoints: tuple[str, ...]) -> bool:
    """Whether it is encrypted; what is named must fit together. Raises StoreError."""
    if bool(options.certificate) != bool(options.key):
        raise StoreError("--store-certificate and --store-key go together")
    if bool(options.user) != bool(options.password_file):
        raise StoreError("--store-user and --store-password-file go together")
    named = options.ca is not None or options.certificate is not None
    return named or not all(_on_this_machine(one) for one in endpoints)


def _on_this_machine(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
