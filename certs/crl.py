"""Revocation lists that come with an authority: Istio's `ca-crl.pem`, one of each issuer.

RFC 5280 section 5. A list is believed when the issuer that it names has signed it. One of an issuer
whose certificate is not at hand (another cluster's intermediate, say) is kept as it is: whoever is
shown a chain of that issuer verifies the list with it. Pure; it knows no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertificateError
from certs.x509 import Certificate, issuer_key_id, may_sign_lists, public_key, subject_of

MAX_LISTS = 64
MAX_BYTES = 512 << 10
"""Of all lists: with our own they go to every proxy in one message of 4 MiB."""

_BEGIN = b"-----BEGIN X509 CRL-----"
_BLOCK = re.compile(_BEGIN + rb".*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """issuer, key_id: its name (DER) and key identifier, b'' where the list has none. serials: each
    with when it was revoked. ends_at: inf without a nextUpdate. verified: its issuer is known and
    has signed it. Times are Unix seconds."""

    pem: bytes
    name: str
    issuer: bytes
    key_id: bytes
    serials: Mapping[int, float]
    made_at: float
    ends_at: float
    verified: bool

    def is_of(self, issuer: Certificate) -> bool:
        """Whether this is verified and the issuer's."""
        return self.verified and _names(self.issuer, self.key_id, issuer)

    def names(self, certificate: Certificate) -> bool:
        """Whether it revokes this one. Names of issuers are as good as keys: who asks has verified
        the certificate, and this is verified."""
        listed = self.verified and certificate.serial_number in self.serials
        return listed and certificate.issuer.public_bytes() == self.issuer

    def check_at(self, now: float, what: str) -> None:
        """CertificateError if verifiers would refuse the list at `now`, and with it everybody."""
        if self.made_at > now:
            raise CertificateError(f"{what} is not valid yet: check the clock")
        if self.ends_at <= now:
            raise CertificateError(f"{what} has ended (nextUpdate): have its issuer make a new one")


def read_lists(
    pem: bytes, what: str, known: Iterable[Certificate], now: float | None
) -> tuple[RevocationList, ...]:
    """The newest list of each issuer, in their order; () of an empty text. Without `now` the dates
    are not looked at.

    known: certificates of issuers. CertificateError names `what`, the bad list and the reason.
    """
    blocks = _BLOCK.findall(pem)
    if pem.count(_BEGIN) != len(blocks) or (pem.strip() and not blocks):
        raise CertificateError(
            f"{what} holds no PEM revocation list, or a last one that is cut off"
        )
    if len(pem) > MAX_BYTES or len(blocks) > MAX_LISTS:
        raise CertificateError(
            f"{what} is too large: {MAX_LISTS} lists and {MAX_BYTES} bytes at most go to proxies"
        )
    certificates = tuple(known)
    newest: dict[tuple[bytes, bytes], RevocationList] = {}
    for number, block in enumerate(blocks, 1):
        which = f"list {number} of {what}"
        found = _read(block, which, certificates)
        if now is not None:
            found.check_at(now, f"{which}, by {found.name!r},")
        key = (found.issuer, found.key_id)
        if key not in newest or newest[key].made_at < found.made_at:
            newest[key] = found
    return tuple(newest.values())


def check_not_listed(path: Sequence[Certificate], lists: Sequence[RevocationList]) -> None:
    """CertificateError if one of the path is revoked by the one above it: all would refuse it."""
    for certificate, issuer in pairwise(path):
        for one in lists:
            if one.is_of(issuer) and certificate.serial_number in one.serials:
                raise CertificateError(
                    f"certificate {subject_of(certificate)!r} is revoked by the list of "
                    f"{one.name!r}: have another one issued (weft ca rotate --from)"
                )


def covers(path: Sequence[Certificate], lists: Sequence[RevocationList], now: float) -> bool:
    """Whether each certificate above the issuing one has a list that counts at `now`: only then can
    verifiers look up whole chains (RFC 5280 section 6.3 wants a list for each)."""
    return all(any(one.is_of(issuer) and now < one.ends_at for one in lists) for issuer in path[1:])


def _read(block: bytes, what: str, known: Sequence[Certificate]) -> RevocationList:
    try:
        crl = x509.load_pem_x509_crl(block)
        key_id = _key_id(crl, what)
        serials = {one.serial_number: one.revocation_date_utc.timestamp() for one in crl}
        made_at = crl.last_update_utc.timestamp()
        ends_at = crl.next_update_utc.timestamp() if crl.next_update_utc is not None else inf
        issuer, name = crl.issuer.public_bytes(), crl.issuer.rfc4514_string()
    except (ValueError, x509.DuplicateExtension) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{what} is corrupt: {error}") from error
    signers = [one for one in known if one.subject.public_bytes() == issuer]
    if signers and not any(_names(issuer, key_id, one) for one in signers):
        raise CertificateError(
            f"{what} is of another {name!r} than the one here (its key identifier differs)"
        )
    if signers and not any(_signed(crl, one) for one in signers):
        raise CertificateError(
            f"{what} is not signed by the issuer that it names, {name!r} (or that one's key usage "
            "has no cRLSign): verifiers would refuse every certificate of it"
        )
    pem = crl.public_bytes(Encoding.PEM)
    return RevocationList(pem, name, issuer, key_id, serials, made_at, ends_at, bool(signers))


def _key_id(crl: x509.CertificateRevocationList, what: str) -> bytes:
    """Of the issuer. CertificateError for a list that is only a part of one (section 5.2.4, 5.2.5),
    and for what must be understood and is not."""
    key_id = b""
    for extension in crl.extensions:
        if isinstance(extension.value, x509.AuthorityKeyIdentifier):
            key_id = extension.value.key_identifier or b""
        elif extension.critical or isinstance(extension.value, x509.DeltaCRLIndicator):
            raise CertificateError(
                f"{what} is no complete list of its issuer (extension "
                f"{extension.oid.dotted_string}): bring the full one"
            )
    return key_id


def _names(issuer: bytes, key_id: bytes, certificate: Certificate) -> bool:
    if certificate.subject.public_bytes() != issuer:
        return False
    return not key_id or issuer_key_id(certificate) == key_id


def _signed(crl: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    try:
        return may_sign_lists(issuer) and crl.is_signature_valid(public_key(issuer))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
