"""The certificate authority of one trust domain: signs SVIDs with its issuing key.

Its issuing certificate is a root, or an intermediate with its path to one. It trusts its caller
for who the subject is: the identity is an argument, never read from a CSR. Knows nothing of files,
networks or callers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from certs.bundle import TrustBundle
from certs.crl import RevocationList, check_not_listed
from certs.csr import open_csr
from certs.errors import CertificateError
from certs.issuance import Issuance
from certs.keys import PrivateKey, PublicKey, check_public_key, generate_key
from certs.path import check_may_name, check_path_at, find_path
from certs.profiles import (
    BACK_DATE_S,
    BACK_DATE_SHARE,
    make_crl,
    make_cross,
    make_intermediate,
    make_root,
)
from certs.spiffe import SpiffeId
from certs.template import LeafTemplate, general_names
from certs.x509 import (
    Certificate,
    certificate_to_pem,
    chain_to_pem,
    check_authority,
    der_to_pem,
    matches_key,
    may_sign_lists,
    path_length,
    spiffe_id,
    subject_of,
    uri_sans,
    validity,
)

MAX_LEAF_TTL_S = 90 * 86400
"""istiod's ceiling, MAX_WORKLOAD_CERT_TTL: keys of workloads are not to be had for longer."""


class Authority:
    """An issuing certificate, its key and the roots by which others trust it. Immutable.

    `certificate` signs leaves; `intermediates` is what a server sends behind a leaf (`certificate`
    first, () if it is a root itself); `bundle` is all roots to trust; `id`, 32 hex digits, stands
    for all of these certificates. `lists`: what revocation lists came with it, not part of the id.
    """

    __slots__ = (
        "_above",
        "_end",
        "_key",
        "_start",
        "_template",
        "bundle",
        "certificate",
        "id",
        "intermediates",
        "lists",
        "root",
        "trust_domain",
    )

    def __init__(
        self,
        certificate: Certificate,
        key: PrivateKey,
        *,
        trust_domain: str = "",
        others: Iterable[Certificate] = (),
        bundle: TrustBundle | None = None,
        lists: Sequence[RevocationList] = (),
    ) -> None:
        """Without a bundle the certificate is the root; `others` may link it to one of the bundle.

        The trust domain may be left out if the certificate names it. CertificateError: key and
        certificate do not belong together, it may not sign, no path leads to a root, one of the
        path is revoked by a list.
        """
        check_authority(certificate, "signing certificate")
        if not matches_key(certificate, key.public_key()):
            raise CertificateError("signing certificate does not match the private key")
        self.bundle = bundle or TrustBundle((certificate,))
        path = find_path(certificate, others, self.bundle.roots)
        self.trust_domain = _trust_domain(certificate, trust_domain)
        check_may_name(path, self.trust_domain)
        check_not_listed(path, lists)
        self.lists = tuple(lists)
        self.certificate = certificate
        self.intermediates, self.root = path[:-1], path[-1]
        self._above = tuple(map(certificate_to_pem, path))
        self.id = _id(path, self.bundle)
        self._key = key
        self._template = LeafTemplate(certificate, key)
        self._start = max(validity(one)[0] for one in path)
        self._end = min(validity(one)[1] for one in path)

    @classmethod
    def create(cls, trust_domain: str, now: float, key: PrivateKey | None = None) -> Authority:
        """A new authority with a self-signed root; `now` is Unix seconds."""
        key = key or generate_key()
        return cls(make_root(key, trust_domain, now), key)

    def create_intermediate(self, now: float, key: PrivateKey | None = None) -> Authority:
        """A new authority below this one, which must be a root. CertificateError if it is none."""
        if self.intermediates:
            raise CertificateError(
                "an intermediate authority makes no other: use the root's folder"
            )
        check_path_at((self.root,), now)
        key = key or generate_key()
        below = make_intermediate(
            self.certificate, self._key, key.public_key(), self.trust_domain, now
        )
        return Authority(below, key, bundle=self.bundle, lists=self.lists)

    def cross_sign(self, newer: Authority, now: float) -> tuple[Certificate, ...]:
        """The newer one's root as signed by this one, for peers that trust only this one's root.

        () where no chain could use it: this is not a root itself, has expired, or its path length
        forbids it.
        """
        allowed = path_length(self.certificate)
        depth = len(newer.intermediates)
        too_deep = allowed is not None and allowed < 1 + depth
        if self.intermediates or too_deep or not self._start <= now < self._end:
            return ()
        return (make_cross(self.certificate, self._key, newer.root, self.trust_domain, depth, now),)

    def crl(self, revoked: Mapping[int, float], now: float) -> bytes:
        """A CRL (PEM) of this issuer's: serial numbers, and when they were revoked (Unix seconds).

        What a list of the same issuer says that came with it stands there too, as verifiers heed
        only one. It stands until the issuer ends: whoever gets it pushed gets each newer one
        pushed, too. CertificateError: its certificate does not allow it to sign lists.
        """
        if not may_sign_lists(self.certificate):
            raise CertificateError(
                f"{subject_of(self.certificate)!r} may not sign revocation lists (key usage has no "
                "cRLSign): have it issued with it, or revoke the identity"
            )
        return make_crl(self.certificate, self._key, {**self.listed, **revoked}, now)

    @property
    def listed(self) -> dict[int, float]:
        """The serial numbers that lists of this issuer's own, which came with it, revoke."""
        ours = (one.serials for one in self.lists if one.is_of(self.certificate))
        return {serial: at for serials in ours for serial, at in serials.items()}

    @property
    def path(self) -> tuple[Certificate, ...]:
        """The issuing certificate first, its root last."""
        return (*self.intermediates, self.root)

    @property
    def private_key(self) -> PrivateKey:
        """For the store, which writes it down. It belongs into no log and no message."""
        return self._key

    @property
    def not_after(self) -> float:
        """When the first certificate of its path ends (Unix seconds): no leaf outlives that."""
        return self._end

    def sign(
        self,
        subject: bytes | PublicKey,
        identity: SpiffeId,
        ttl_s: float,
        now: float,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> tuple[Certificate, ...]:
        """The chain of a new SVID, leaf first and root last, for a CSR (PEM) or a public key.

        It is valid for `ttl_s` seconds from `now`, but no longer than the path above it. Names for
        servers come from the caller alone. CertificateError: a CSR that `open_csr` refuses or that
        asks for another identity, an identity of another trust domain, a kind of key or a lifetime
        that is not issued, a certificate of the path that is not valid now.
        """
        self._check_domain(identity)
        names = general_names(identity, dns_names, ip_addresses)
        start, end = self._leaf_validity(ttl_s, now)
        leaf = self._template.make(_key_of(subject, identity), names, start, end)
        return (leaf, *self.intermediates, self.root)

    def issue(self, key: PublicKey, identity: SpiffeId, ttl_s: float, now: float) -> Issuance:
        """As `sign` for a workload's key, where nobody looks into the certificate."""
        self._check_domain(identity)
        names = general_names(identity)
        start, end = self._leaf_validity(ttl_s, now)
        data, serial = self._template.encode(check_public_key(key), names, start, end)
        return Issuance((der_to_pem(data), *self._above), serial, float(int(end)))

    def _check_domain(self, identity: SpiffeId) -> None:
        if identity.trust_domain != self.trust_domain:
            raise CertificateError(
                f"identity {identity} is not of this authority's trust domain {self.trust_domain}"
            )

    def _leaf_validity(self, ttl_s: float, now: float) -> tuple[float, float]:
        if not self._start <= now < self._end:
            check_path_at(self.path, now)
        # The last second of all is for nobody: X.509 counts it in, and a leaf needs one.
        if now >= self._end:
            raise CertificateError("signing certificate expires this second")
        if not 0 < ttl_s <= MAX_LEAF_TTL_S:
            raise CertificateError(
                f"a life of {ttl_s:.0f} s: it must be more than 0 and at most {MAX_LEAF_TTL_S} s "
                f"({MAX_LEAF_TTL_S // 86400} days)"
            )
        back_date_s = min(BACK_DATE_S, ttl_s * BACK_DATE_SHARE)
        return max(now - back_date_s, self._start), min(now + ttl_s, self._end)


def _key_of(subject: bytes | PublicKey, identity: SpiffeId) -> PublicKey:
    if not isinstance(subject, bytes):
        return check_public_key(subject)
    request = open_csr(subject)
    request.check_identity(identity)
    return request.key


def _id(path: Iterable[Certificate], bundle: TrustBundle) -> str:
    digest = hashlib.sha256(chain_to_pem(path) + b"\n" + bundle.to_pem())
    return digest.hexdigest()[:32]


def _trust_domain(certificate: Certificate, wanted: str) -> str:
    """The one wanted, or the one that the certificate names; both must agree where both are."""
    if not uri_sans(certificate):
        if not wanted:
            raise CertificateError("signing certificate names no trust domain: say which it is for")
        return SpiffeId(wanted).trust_domain
    named = spiffe_id(certificate).trust_domain
    if wanted and wanted != named:
        raise CertificateError(f"signing certificate is of trust domain {named}, not {wanted}")
    return named
