"""Join tokens: secrets that prove a workload's identity until it has a certificate.

A single-use token buys certificates for one key only: the first that it is presented with. Asking
again with the same key is allowed while the token lives, so that a lost response can be retried.
Only SHA-256 digests are kept, in memory and in one file, so that a restart forgets nothing; or
in the store that several replicas share, where a token is spent once among all of them.
Thread-safe; whatever changes a token also writes the file, so call that from a worker thread.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from threading import Lock

from certs.errors import CertificateError
from certs.files import MAX_FILE_BYTES, write_secret
from certs.spiffe import SpiffeId
from controlplane.ca.shared_tokens import SharedTokens
from controlplane.ca.token_file import TokenRecord, read_tokens, tokens_to_json
from protos.frozen import frozen

DEFAULT_TTL_S = 3600.0
MAX_TTL_S = 30 * 86400.0
MAX_TOKENS = 4000


class Refusal(StrEnum):
    """Why a join token is not accepted; the value is the text for the caller."""

    UNKNOWN = "join token is not known"
    EXPIRED = "join token has expired"
    USED = "join token was already used with another key"
    SINGLE_USE = "join token is for one certificate: a client without one needs a reusable token"


class TooManyTokensError(Exception):
    """The bound on live tokens, or on their file, is reached; it goes away as tokens expire."""


@frozen
class JoinToken:
    """A new token: the secret itself, whom it stands for, its end in Unix seconds, its digest."""

    token: str
    identity: SpiffeId
    expires_at: float
    sha256: str

    def __repr__(self) -> str:
        return f"JoinToken(identity={self.identity}, expires_at={self.expires_at})"


class JoinTokens:
    """The live tokens of one trust domain, kept in `path` (0600), or where all replicas have
    them."""

    __slots__ = ("_lock", "_path", "_records", "_shared", "_trust_domain")

    def __init__(self, path: Path, trust_domain: str, shared: SharedTokens | None = None) -> None:
        """Reads `path` if it is there; CertificateError names it if it is not as we wrote it."""
        self._path = path
        self._trust_domain = trust_domain
        self._shared = shared
        self._lock = Lock()
        self._records: Mapping[str, TokenRecord] = {
            record.sha256: record for record in read_tokens(path)
        }
        for record in self._records.values():
            found = SpiffeId.parse(record.identity).trust_domain
            if found != trust_domain:
                raise CertificateError(
                    f"{path} holds a join token of trust domain {found}, not {trust_domain}: "
                    "move the file away, and make new tokens"
                )
        if shared is not None:
            self._records = shared.records

    def create(
        self, namespace: str, service_account: str, ttl_s: float, reusable: bool, now: float
    ) -> JoinToken:
        """A new token of at most MAX_TTL_S; written to disk before it is given away.

        CertificateError: the names cannot stand in a SPIFFE ID, or the lifetime is not positive.
        TooManyTokensError: try later. OSError: the file cannot be written.
        """
        identity = SpiffeId.workload(self._trust_domain, namespace, service_account)
        if not ttl_s > 0:
            raise CertificateError(f"join token lifetime of {ttl_s} s is not positive")
        token = secrets.token_urlsafe(32)
        expires_at = float(now + min(ttl_s, MAX_TTL_S))
        record = TokenRecord(_digest(token), str(identity), expires_at, reusable)
        with self._lock:
            # A copy: what replicas share changes in another thread.
            known = dict(self._records)
            live = {key: old for key, old in known.items() if old.expires_at > now}
            if len(live) >= MAX_TOKENS:
                raise TooManyTokensError(f"there are {MAX_TOKENS} live join tokens already")
            records = {**live, record.sha256: record}
            if self._shared is None and _largest_bytes(records.values()) > MAX_FILE_BYTES:
                # It could be written, but the next start would refuse to read it.
                raise TooManyTokensError(f"{len(live)} live join tokens fill {self._path.name}")
            self._replace(records, record)
        return JoinToken(token, identity, expires_at, record.sha256)

    def live(self, now: float) -> tuple[TokenRecord, ...]:
        """Those that are not over, by their identities and ends."""
        found = (one for one in tuple(self._records.values()) if one.expires_at > now)
        return tuple(sorted(found, key=lambda one: (one.identity, one.expires_at, one.sha256)))

    def delete(self, digest: str, now: float) -> bool:
        """Whether there was one that begins so (SHA-256, in hexadecimal). CertificateError: it is
        no digest, or several begin so. OSError: the file can't be written."""
        if re.fullmatch(r"[0-9a-f]{8,64}", digest) is None:
            raise CertificateError(f"{digest!a} is no id of a join token: 8 hex digits or more")
        with self._lock:
            found = [one for one in self.live(now) if one.sha256.startswith(digest)]
            if len(found) > 1:
                raise CertificateError(f"{len(found)} join tokens begin with {digest}: say more")
            for one in found:
                self._remove(one)
        return bool(found)

    def _remove(self, record: TokenRecord) -> None:
        if self._shared is not None:
            self._shared.remove(record)
            return
        records = {key: one for key, one in self._records.items() if one != record}
        write_secret(self._path, tokens_to_json(records.values()))
        self._records = records

    def authenticate(self, token: str, now: float) -> SpiffeId | Refusal:
        """Whom a reusable token stands for. A single-use one is good for `spend` only."""
        record = self._live(token, now)
        if isinstance(record, Refusal):
            return record
        return SpiffeId.parse(record.identity) if record.reusable else Refusal.SINGLE_USE

    def identify(self, token: str, now: float) -> SpiffeId | Refusal:
        """Whom the token stands for, spent or not: whoever acts on it must `spend` it first."""
        record = self._live(token, now)
        return record if isinstance(record, Refusal) else SpiffeId.parse(record.identity)

    def spend(self, token: str, public_key: bytes, now: float) -> SpiffeId | Refusal:
        """Whom the token stands for, if it may have a certificate for this public key (DER).

        A single-use token belongs to that key from now on; written to disk before this returns.
        """
        key_sha256 = hashlib.sha256(public_key).hexdigest()
        with self._lock:
            record = self._live(token, now)
            if isinstance(record, Refusal):
                return record
            if not record.reusable and record.key_sha256 != key_sha256:
                if record.key_sha256:
                    return Refusal.USED
                spent = replace(record, key_sha256=key_sha256)
                counts = self._replace({**self._records, spent.sha256: spent}, spent, record)
                if counts.key_sha256 != key_sha256:
                    return Refusal.USED  # by another replica's leave, at the same time
        return SpiffeId.parse(record.identity)

    def _live(self, token: str, now: float) -> TokenRecord | Refusal:
        # Looking up a digest leaks nothing by its time: nobody can choose a digest's prefix.
        record = self._records.get(_digest(token))
        if record is None:
            return Refusal.UNKNOWN
        return record if now < record.expires_at else Refusal.EXPIRED

    def _replace(
        self,
        records: Mapping[str, TokenRecord],
        changed: TokenRecord,
        former: TokenRecord | None = None,
    ) -> TokenRecord:
        """What counts in the place of `former` now. What can't be written changes nothing."""
        if self._shared is not None:
            return self._shared.replace(records, changed, former)
        write_secret(self._path, tokens_to_json(records.values()))
        self._records = records
        return changed


def _largest_bytes(records: Iterable[TokenRecord]) -> int:
    """The size of the file when all of them are spent."""
    spent = (replace(record, key_sha256=record.sha256) for record in records)
    return len(tokens_to_json(spent))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
