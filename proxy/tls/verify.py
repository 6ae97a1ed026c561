"""Judges a peer's certificate while hands are shaken: Envoy's certificate validators.

OpenSSL builds and verifies the chain; what it finds is put into words, and what it does not look at
(names, pinned digests, the trust domain of a SPIFFE id) is looked at here. A refusal is an alert to
the peer, and the reason is kept for the log. Opens nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from certs.errors import CertificateError
from certs.spiffe import SCHEME, SpiffeId
from proxy.config.model import ValidationContext
from proxy.connection import PeerCertificate
from proxy.tls.domain_roots import DomainRoots
from proxy.tls.failure import CHAIN, NAMES, PIN
from proxy.tls.names import SanCheck, Sans, compile_san_matchers, harmless, has_name, shown, wanted
from proxy.tls.openssl import ffi, lib
from proxy.tls.peer import certificate_facts, sans_of
from proxy.tls.session import Session

NOT_YET_VALID, EXPIRED, REVOKED = 9, 10, 23  # openssl/x509_vfy.h

Stores = Mapping[str, DomainRoots]
"""By trust domain."""


class Verifier:
    """Of the sessions of one configuration. Asked for each certificate of a chain, the leaf's
    last."""

    __slots__ = (
        "_chain_matters",
        "_check",
        "_config",
        "_matches_ids",
        "_stores",
        "_tolerated",
        "_trusting",
    )

    def __init__(self, config: ValidationContext, stores: Stores | None = None) -> None:
        """stores: of the SPIFFE validator, None without it. Raises ValueError for a bad regex."""
        self._config = config
        self._stores = stores
        self._check: SanCheck | None = None
        if config.match_sans:
            self._check = compile_san_matchers(config.match_sans)
        self._matches_ids = any(SCHEME in one.matcher.value for one in config.match_sans)
        self._tolerated = frozenset((NOT_YET_VALID, EXPIRED) if config.allow_expired else ())
        self._chain_matters = config.trusted_ca is not None and stores is None
        self._trusting = config.accept_untrusted

    @property
    def wants_chain(self) -> bool:
        """The SPIFFE validator has roots of its own, so it needs what leads to them."""
        return self._stores is not None

    def judge(self, session: Session, der: bytes, error: int, depth: int, ok: int) -> bool:
        """Whether to go on."""
        if depth and self._stores is not None and der not in session.refusal.chain:
            # Also one whose issuer OpenSSL misses: the roots are in the stores.
            session.refusal.chain.append(der)
        if not ok:
            if self._chain_matters and error not in self._tolerated:
                session.refusal.say(CHAIN, why_chain(error, depth, der))
        elif not depth and not session.refusal.why:
            self._judge_leaf(session, der)
        return self._trusting or not session.refusal.why

    def again(self, session: Session, der: bytes, now: float) -> bool:
        """Of a resumed session, in whose handshake nothing is verified: what has changed since."""
        facts = certificate_facts(der)
        dates_matter = self._chain_matters or self._stores is not None
        if facts.not_after < now and dates_matter and not self._tolerated:
            session.refusal.say(CHAIN, why_chain(EXPIRED, 0, der))
        else:  # other names may have been wanted
            self._judge_names(session, der)
        return self._trusting or not session.refusal.why

    def _judge_leaf(self, session: Session, der: bytes) -> None:
        try:
            if self._stores is not None:
                self._judge_identity(session, der, self._stores)
            if not session.refusal.why:
                self._judge_names(session, der)
            if not session.refusal.why:
                self._judge_digest(session, der)
        except ValueError as error:
            session.refusal.say(CHAIN, f"the certificate cannot be read: {error}")

    def _judge_names(self, session: Session, der: bytes) -> None:
        """Envoy: a name that a request or the SNI asks for stands for the configured ones."""
        asked = session.wanted_name
        if not asked and self._check is None:
            return
        sans = sans_of(der)
        is_id = asked.startswith(SCHEME) if asked else self._matches_ids
        ambiguous = _ambiguous(der) if is_id else None
        if ambiguous is not None:
            session.refusal.say(NAMES, ambiguous)
        elif asked:
            if not has_name(sans, asked):
                why = f"the certificate is not for {asked}, but for {shown(sans)}"
                session.refusal.say(NAMES, why)
        elif self._check is not None and not self._check(sans):
            session.refusal.say(
                NAMES,
                f"the certificate's names do not match: {shown(sans)}; "
                f"wanted {wanted(self._config.match_sans)}",
            )

    def _judge_digest(self, session: Session, der: bytes) -> None:
        """`verify_certificate_hash` and `verify_certificate_spki`: one of either is enough."""
        config = self._config
        if not config.hashes and not config.spkis:
            return
        digest = hashlib.sha256(der).digest()
        if digest in config.hashes or _spki_digest(der) in config.spkis:
            return
        session.refusal.say(PIN, f"the certificate is not a pinned one: its SHA-256 {digest.hex()}")

    def _judge_identity(self, session: Session, der: bytes, stores: Stores) -> None:
        """Envoy's SPIFFE validator: the chain must end at a root of the identity's trust domain."""
        why = not_a_leaf(x509.load_der_x509_certificate(der))
        sans = sans_of(der)
        if why is None and not names_an_id(sans):
            why = f"no SPIFFE id among its names: {shown(sans)}"
        why = why or ambiguous_identity(sans)
        if why is None:
            domain = SpiffeId.parse(sans["URI"][0]).trust_domain
            why = self._domain_problem(session, der, domain, stores)
        if why is not None:
            session.refusal.say(CHAIN, why)

    def _domain_problem(
        self, session: Session, der: bytes, domain: str, stores: Stores
    ) -> str | None:
        if domain not in stores:
            known = ", ".join(stores)
            return f"no bundle for the trust domain of {shown(sans_of(der))}; there is {known}"
        return self._chain_problem(session, der, stores[domain])

    def _chain_problem(self, session: Session, der: bytes, roots: DomainRoots) -> str | None:
        others = [_loaded(one) for one in session.refusal.chain]
        try:
            roots.verify(_loaded(der), others or None)
        except crypto.X509StoreContextError as error:
            code, depth = error.errors[0], error.errors[1]
            guilty = crypto.dump_certificate(crypto.FILETYPE_ASN1, error.certificate)
            return why_chain(code, depth, guilty)
        return None


def why_chain(error: int, depth: int, der: bytes) -> str:
    """OpenSSL's verdict (`X509_V_ERR_*`) in words that name the certificate."""
    whose = "the certificate" if depth == 0 else "the issuer's certificate"
    try:
        facts = certificate_facts(der)
    except ValueError as problem:
        return f"{whose} cannot be read: {problem}"
    if error == EXPIRED:
        verdict = f"expired on {date_of(facts.not_after)}"
    elif error == NOT_YET_VALID:
        verdict = f"is not valid before {date_of(facts.not_before)}"
    elif error == REVOKED:
        verdict = "is revoked"
    else:
        reason = ffi.string(lib.X509_verify_cert_error_string(error)).decode()
        verdict = f"is not trusted ({reason})"
    return f"{whose} {verdict}: {described(facts)}"


def described(facts: PeerCertificate) -> str:
    """Which one it is, for a log."""
    names = ", ".join((*facts.uri_sans, *facts.dns_sans, *facts.ip_sans)) or facts.subject
    name, issuer = harmless(names) or "no names", harmless(facts.issuer) or "nobody"
    return f"{name}, serial {facts.serial}, issued by {issuer}"


def date_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def names_an_id(sans: Sans) -> bool:
    return any(name.startswith(SCHEME) for name in sans.get("URI", ()))


def ambiguous_identity(sans: Sans) -> str | None:
    """X.509-SVID section 2: exactly one URI. Whatever else looks like an identity was not verified
    as one, but might be taken for one: by a policy, say, that looks at every name. None also for a
    certificate that has no identity at all."""
    alike = [
        *sans.get("URI", ()),
        *(
            name
            for kind, names in sans.items()
            for name in names
            if kind != "URI" and name.lower().startswith(SCHEME)
        ),
    ]
    if not any(name.lower().startswith(SCHEME) for name in alike):
        return None
    if len(alike) > 1:
        return f"a SPIFFE id must be a certificate's only URI: {shown(sans)}"
    try:
        SpiffeId.parse(alike[0])
    except CertificateError as error:
        return f"its name is no identity: {error}"
    return None if "URI" in sans else f"a SPIFFE id must be a URI: {shown(sans)}"


@lru_cache(maxsize=1024)
def _ambiguous(der: bytes) -> str | None:
    """Only what stands in the certificate: peers come back with the same ones."""
    return ambiguous_identity(sans_of(der))


def not_a_leaf(certificate: x509.Certificate) -> str | None:
    """X.509-SVID section 4.1 and 4.3: a leaf must not be able to sign certificates."""
    limited = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return "the certificate is one of a CA, not of a workload"
        if isinstance(value, x509.KeyUsage):
            limited = not (value.key_cert_sign or value.crl_sign)
    # Without a key usage every use is allowed (Envoy, RFC 5280 section 4.2.1.3).
    return None if limited else "the certificate may sign others: it is not one of a workload"


def _loaded(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def _spki_digest(der: bytes) -> bytes:
    key = x509.load_der_x509_certificate(der).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()
