"""What counts no more: certificates by serial number, and identities with all that they hold.

    a serial      stands in the CRL of its issuer, opens no stream, renews nothing
    an identity   the same for each of its certificates that the issue log knows, and gets no more

Proxies get it as CRLs beside the trust bundle, one of each authority that may have issued a leaf
(Envoy refuses leaves of an issuer without a list once there is one), together with the lists that
came with the authorities (certs.crl). Kept in STATE/revoked.json. It knows no streams; whoever
changes it has the change pushed. Several replicas have the same, in the store that they share.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

from certs.authority import Authority
from certs.checked_file import read_checked, write_checked
from certs.crl import RevocationList, covers
from certs.errors import CertificateError
from certs.issue_log import Issued, read_issues
from certs.spiffe import SCHEME, SpiffeId
from certs.store import CA_FOLDER
from certs.x509 import Certificate, may_sign_lists, spiffe_id
from controlplane.ca.live import LiveAuthority
from controlplane.ca.shared_revocations import SharedRevocations
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.ca")

REVOKED_FILE = "revoked.json"
MAX_REVOCATIONS = 10_000
MAX_LISTED = 20_000
"""Serial numbers in one list: two lists of so many stay below gRPC's 4 MiB for a message."""
ENDS_EARLY_S = 300.0
"""A list that came with an authority counts no more that long before its end: proxies that still
had it at its end would refuse everybody."""
_SERIAL = re.compile(r"[0-9a-f]{1,40}")


@frozen
class Revocation:
    """what: a serial number in hex, lower case, or a SPIFFE id. at: Unix seconds."""

    what: str
    reason: str
    at: float


@frozen
class Told:
    """crl: PEM, b'' for nothing. whole_chains: other issuers' lists are there, too, one for each
    issuer up to the roots. covers: there is a list of each issuer of our own chains, so that a
    verifier that wants them all can be given it. identities: whom nobody may be, sorted."""

    crl: bytes = b""
    whole_chains: bool = False
    covers: bool = False
    identities: tuple[str, ...] = ()


class Revocations:
    """CertificateError when made if the file is spoiled: it must not be forgotten in silence."""

    def __init__(
        self,
        state_dir: Path,
        authority: LiveAuthority,
        clock: Callable[[], float],
        shared: SharedRevocations | None = None,
    ) -> None:
        """shared: the file is not written then, and read to be taken over by it."""
        self._path = state_dir / REVOKED_FILE
        self._shared = shared
        self._issues = state_dir / CA_FOLDER
        self._authority = authority
        self._clock = clock
        self._all = _load(self._path)
        self._serials: dict[int, float] = {}
        self._of_identities: dict[int, Issued] = {}
        self._told = Told()
        self._until = inf
        self._changing = Lock()
        self._find({})
        authority.listen(self._sign)

    def all(self) -> tuple[Revocation, ...]:
        """In the order in which they came."""
        return tuple(self._all.values())

    def crl(self) -> bytes:
        """PEM, a list of each issuer; b'' while nothing is revoked and no list came."""
        return self.told().crl

    def told(self, *, lists: bool = True) -> Told:
        """What proxies are to hear. lists False: of identities only."""
        if self._clock() >= self._until:
            self._sign()
        told = self._told
        return told if lists else Told(identities=told.identities)

    def identities(self) -> tuple[str, ...]:
        """Whom nobody may be, sorted."""
        return self._told.identities

    def why(self, certificate: Certificate) -> str:
        """Why it counts no more; '' if it does."""
        for one in self._brought():
            if one.names(certificate):
                return f"{certificate.serial_number:x} is revoked by the list of {one.name}"
        if not self._all:
            return ""
        found = self._all.get(f"{certificate.serial_number:x}")
        try:
            found = found or self._all.get(str(spiffe_id(certificate)))
        except CertificateError:
            pass  # no SVID: only its number can be on the list
        return f"{found.what} is revoked: {found.reason}" if found is not None else ""

    def why_not(self, identity: SpiffeId | str) -> str:
        """Why nobody may be this identity; '' if one may."""
        found = self._all.get(str(identity))
        return f"{found.what} is revoked: {found.reason}" if found is not None else ""

    def revoke(self, what: str, reason: str) -> None:
        """Blocks on the disk. CertificateError: neither a serial number nor a SPIFFE id."""
        what = _named(what)
        with self._changing:
            self._revoke(what, reason or "no reason given")

    def _revoke(self, what: str, reason: str) -> None:
        if len(self._all) >= MAX_REVOCATIONS and what not in self._all:
            raise CertificateError(
                f"{MAX_REVOCATIONS} revocations are there already: take some back, or replace the "
                "authority (weft ca rotate)"
            )
        if not what.startswith(SCHEME) and not may_sign_lists(self._authority.certificate):
            self._authority.authority.crl({}, self._clock())  # says what to do
        self._keep({**self._all, what: Revocation(what, reason, self._clock())})
        log.warning("revoked %s: %s", what, reason)

    def restore(self, what: str) -> None:
        """Takes it back. Blocks on the disk. CertificateError: it is not revoked."""
        what = _named(what)
        with self._changing:
            if what not in self._all:
                raise CertificateError(f"{what} is not revoked")
            self._keep({name: one for name, one in self._all.items() if name != what})
        log.warning("%s is not revoked any more", what)

    def hear(self, payload: dict[str, Any], seen: Mapping[str, Issued]) -> None:
        """What counts, by another replica's doing, and the certificates of revoked identities that
        were known with it. Blocks on the disk. CertificateError: it is not as we write it."""
        revocations = _decoded(payload, "what replicas share")
        with self._changing:
            self._take(revocations, seen)

    def _keep(self, revocations: dict[str, Revocation]) -> None:
        """File first: if it cannot be written, all stays as it was."""
        # As of now: what comes meanwhile may be of an identity that somebody else revokes.
        seen = dict(self._shared.certificates) if self._shared is not None else {}
        payload = {"revoked": [asdict(one) for one in revocations.values()]}
        if self._shared is not None:
            self._shared.replace(payload)
        else:
            write_checked(self._path, payload)
        self._take(revocations, seen)

    def _take(self, revocations: dict[str, Revocation], seen: Mapping[str, Issued]) -> None:
        """seen: certificates that others have told, of identities that were revoked before."""
        self._all = revocations
        self._find(seen)
        if self._shared is not None:
            self._shared.tell({one.serial: one for one in self._of_identities.values()}, seen)

    def _find(self, seen: Mapping[str, Issued]) -> None:
        """The serial numbers: those that are named, and those of identities."""
        named = [one for one in self._all.values() if _SERIAL.fullmatch(one.what)]
        serials = {int(one.what, 16): one.at for one in named}
        any_identity = len(named) < len(self._all)
        self._of_identities = dict(self._held_by_revoked(any_identity, seen.values()))
        longest = sorted(self._of_identities.items(), key=lambda item: -item[1].not_after)
        listed = max(len(issuer.listed) for issuer in self._issuers())
        room = max(MAX_LISTED - len(serials) - listed, 0)
        for serial, issued in longest[:room]:
            serials.setdefault(serial, self._all[issued.identity].at)
        if len(longest) > room:
            log.error(
                "certificates of revoked identities are too many for the CRL (%d, and it lists at "
                "most %d numbers): peers take the %d that end first until they end, at the latest "
                "in %d s; deny the identities with an AuthorizationPolicy, or replace the "
                "authority (weft ca rotate)",
                len(longest),
                MAX_LISTED,
                len(longest) - room,
                longest[room][1].not_after - self._clock(),
            )
        self._serials = serials
        self._sign()

    def _held_by_revoked(
        self, any_identity: bool, others: Iterable[Issued]
    ) -> Iterator[tuple[int, Issued]]:
        """What is not over yet: what we know already, for the log forgets, and what it has."""
        now = self._clock()
        logged = read_issues(self._issues) if any_identity else ()
        for issued in (*self._of_identities.values(), *others, *_of(logged, self._all)):
            if issued.not_after > now and issued.identity in self._all:
                yield int(issued.serial, 16), issued

    def _sign(self) -> None:
        """Made first, then put in its place: the loop reads while a thread is here."""
        now, issuers = self._clock(), self._issuers()
        others = self._of_others(issuers, now + ENDS_EARLY_S)
        identities = tuple(sorted(one for one in self._all if one.startswith(SCHEME)))
        told = Told(identities=identities)
        try:
            if self._all or self._brought():
                own = [issuer.crl(self._serials, now) for issuer in issuers]
                pem = b"".join((*own, *(one.pem for one in others)))
                covered = all(covers(one.path, others, now + ENDS_EARLY_S) for one in issuers)
                told = Told(pem, bool(others) and covered, covered, identities)
        except CertificateError as error:
            log.error("nothing can be revoked by a list: %s", error)
        self._told = told
        self._until = min((one.ends_at for one in others), default=inf) - ENDS_EARLY_S

    def _issuers(self) -> tuple[Authority, ...]:
        stored = self._authority.stored
        return (stored.authority, *([stored.other] if stored.other is not None else []))

    def _brought(self) -> tuple[RevocationList, ...]:
        return tuple(one for issuer in self._issuers() for one in issuer.lists)

    def _of_others(self, issuers: Iterable[Authority], at: float) -> tuple[RevocationList, ...]:
        """The newest of each issuer that we are not, and that counts at `at`."""
        ours = [issuer.certificate for issuer in issuers]
        newest: dict[tuple[bytes, bytes], RevocationList] = {}
        for one in self._brought():
            if at >= one.ends_at:
                log.error("the revocation list of %s ends: bring a newer one", one.name)
            elif not any(map(one.is_of, ours)):
                key = (one.issuer, one.key_id)
                newest[key] = max(one, newest.get(key, one), key=lambda each: each.made_at)
        return tuple(newest.values())


def _of(logged: Iterable[Issued], identities: Container[str]) -> Iterator[Issued]:
    return (issued for issued in logged if issued.identity in identities)


def _named(what: str) -> str:
    """As it is kept; a serial number may be given as others print it (0x, colons, capitals)."""
    text = what.strip()
    if text.startswith("spiffe://"):
        identity = SpiffeId.parse(text)
        if not identity.path:
            raise CertificateError(
                f"{text} is a trust domain, which no workload has for an identity: name the "
                "identities (a foreign domain: take its ClusterFederatedTrustDomain out)"
            )
        return str(identity)
    serial = text.lower().removeprefix("0x").replace(":", "").lstrip("0")
    if not _SERIAL.fullmatch(serial):
        raise CertificateError(
            f"{what!a} is neither a serial number in hex nor a SPIFFE id (spiffe://...)"
        )
    return serial


def _load(path: Path) -> dict[str, Revocation]:
    return _decoded(read_checked(path), str(path)) if os.path.lexists(path) else {}


def _decoded(payload: dict[str, Any], where: str) -> dict[str, Revocation]:
    try:
        found = [
            Revocation(str(one["what"]), str(one["reason"]), float(one["at"]))
            for one in payload["revoked"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CertificateError(f"{where} is corrupt: restore it from a backup") from error
    return {one.what: one for one in found}
