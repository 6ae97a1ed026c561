"""Which certificates and identities are revoked, and the end of connections that live on with one.

A handshake is refused by OpenSSL, which has the same lists; this is for those that were over
before, or had begun with older lists (`revoked_now`), and for identities, of which OpenSSL knows
nothing. A list counts for a certificate when one key has signed both: lists come with any TLS
context, also one for hosts outside of the mesh, and may name whomever they like.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from certs.spiffe import SCHEME
from proxy.tls.peer import sans_of
from proxy.tls.transport import open_transports

log = logging.getLogger("weft.tls")

SLICE_S = 0.002
_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

Others = Callable[[], Iterable[bytes]]
"""What a peer has shown beside its certificate (DER)."""


@dataclass(frozen=True, slots=True)
class _List:
    """issuers: those at hand that have signed it. of_leaves: it judges no authorities."""

    crl: x509.CertificateRevocationList
    serials: frozenset[int]
    issuers: tuple[x509.Certificate, ...]
    of_leaves: bool


class Revoked:
    """pems: texts with CRLs, several in one, that were accepted, so that they can be read.
    of_leaves: such as judge leaves alone (`only_verify_leaf_cert_crl`). known: PEM texts with
    certificates that may be issuers. identities: SPIFFE ids."""

    __slots__ = ("_identities", "_lists")

    def __init__(
        self,
        pems: Iterable[bytes],
        known: Iterable[bytes] = (),
        identities: Iterable[str] = (),
        of_leaves: Iterable[bytes] = (),
    ) -> None:
        self._identities = frozenset(map(_normal, identities))
        self._lists: dict[bytes, list[_List]] = {}
        at_hand = _by_name(known)
        whole = _blocks(pems)
        for block in sorted(whole | _blocks(of_leaves)):
            crl = x509.load_pem_x509_crl(block)
            issuer = crl.issuer.public_bytes()
            named = at_hand.get(issuer, ())
            issuers = tuple(one for one in named if _signed(crl, one))
            if named and not issuers:
                name = crl.issuer.rfc4514_string()
                log.warning("a CRL is not believed: %s, which it names, has not signed it", name)
                continue
            if serials := frozenset(one.serial_number for one in crl):
                self._lists.setdefault(issuer, []).append(
                    _List(crl, serials, issuers, block not in whole)
                )

    def __bool__(self) -> bool:
        return bool(self._lists or self._identities)

    def has(self, der: bytes, others: Others = tuple) -> bool:
        """Whether this certificate (DER) or its identity is revoked."""
        return self._has(der, others, leaf=True)

    def _has(self, der: bytes, others: Others, *, leaf: bool) -> bool:
        try:
            certificate = x509.load_der_x509_certificate(der)
            names = sans_of(der).get("URI", ()) if self._identities else ()
        except ValueError:  # OpenSSL has taken it, our reader has not; no list of ours names such
            return False
        if any(_normal(name) in self._identities for name in names):
            return True
        return self._listed(certificate, others, leaf)

    def _listed(self, certificate: x509.Certificate, others: Others, leaf: bool) -> bool:
        serial = certificate.serial_number
        lists = self._lists.get(certificate.issuer.public_bytes(), ())
        for one in lists:
            if serial not in one.serials or (one.of_leaves and not leaf):
                continue
            issuers = one.issuers or _by_name_der(others()).get(one.crl.issuer.public_bytes(), ())
            if any(_issued(certificate, each) and _signed(one.crl, each) for each in issuers):
                return True
        return False

    def has_chain(self, der: bytes, others: Others) -> bool:
        """The same, also for the authorities that the peer has shown."""
        if self.has(der, others):
            return True
        return bool(self._lists) and any(self._has(one, others, leaf=False) for one in others())


def revoked_now() -> Revoked:
    """What was put in force last."""
    return _in_force[-1]


def put_in_force(revoked: Revoked) -> None:
    """From now on no handshake ends well with one of these, whichever lists it began with."""
    _in_force[:] = [revoked]


async def end_revoked(revoked: Revoked) -> int:
    """Ends each connection whose peer has shown a revoked certificate; how many there were. Others
    are served in between."""
    if not revoked:
        return 0
    ended = 0
    slice_began = monotonic()
    for transport in open_transports():
        session = transport.session
        der = session.peer_der
        if der and not transport.is_closing() and revoked.has_chain(der, session.peer_chain):
            transport.abort()
            ended += 1
        if monotonic() - slice_began > SLICE_S:
            await asyncio.sleep(0)
            slice_began = monotonic()
    if ended:
        log.warning("%d connections ended: their peers' certificates are revoked", ended)
    return ended


def _normal(name: str) -> str:
    """A SPIFFE id's scheme and trust domain know no case (SPIFFE-ID section 2.1)."""
    if name[: len(SCHEME)].lower() != SCHEME:
        return name
    domain, slash, path = name[len(SCHEME) :].partition("/")
    return f"{SCHEME}{domain.lower()}{slash}{path}"


def _blocks(pems: Iterable[bytes]) -> set[bytes]:
    return {block for pem in pems for block in _BLOCK.findall(pem)}


def _by_name(pems: Iterable[bytes]) -> dict[bytes, tuple[x509.Certificate, ...]]:
    blocks = {block for pem in pems for block in _CERTIFICATE.findall(pem)}
    return _grouped(x509.load_pem_x509_certificate, blocks)


def _by_name_der(ders: Iterable[bytes]) -> dict[bytes, tuple[x509.Certificate, ...]]:
    return _grouped(x509.load_der_x509_certificate, ders)


def _grouped(
    load: Callable[[bytes], x509.Certificate], texts: Iterable[bytes]
) -> dict[bytes, tuple[x509.Certificate, ...]]:
    """By subject; what can't be read is no issuer."""
    found: dict[bytes, tuple[x509.Certificate, ...]] = {}
    for text in texts:
        try:
            certificate = load(text)
            name = certificate.subject.public_bytes()
        except ValueError:
            continue
        found[name] = (*found.get(name, ()), certificate)
    return found


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a kind of key that signs nothing here
        return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


_in_force = [Revoked(())]
