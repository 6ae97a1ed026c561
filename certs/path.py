"""The certification path from an issuing certificate to a root that is trusted.

RFC 5280 section 6.1, for an authority's own certificates: a peer's chain is the TLS stack's to
judge. Pure; it knows no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from certs.errors import CertificateError
from certs.x509 import (
    Certificate,
    check_authority,
    check_chain_order,
    check_trust_anchor,
    check_valid_at,
    extensions,
    path_length,
    public_key,
    subject_of,
)

MAX_DEPTH = 8


def find_path(
    certificate: Certificate, others: Iterable[Certificate], roots: Sequence[Certificate]
) -> tuple[Certificate, ...]:
    """`certificate` first, a root of `roots` last; each is signed by the next.

    It ends at a root that has signed itself: verifiers do not all stop at an intermediate that is
    among the roots. CertificateError: no root signs it, directly or through `others`; one of the
    path may not sign or stands higher than a path length allows.
    """
    anchors = frozenset(root for root in roots if _signed(root, root))
    path = _walk(certificate, list(dict.fromkeys((*roots, *others))), anchors)
    for depth, one in enumerate(path):
        name = subject_of(one)
        check = check_trust_anchor if one in anchors else check_authority
        check(one, f"certificate {name!r}")
        _check_key(one, name)
        allowed = path_length(one)
        if allowed is not None and depth > allowed:
            raise CertificateError(
                f"certificate {name!r} allows {allowed} authorities below it (path length), "
                f"there are {depth}"
            )
    return path


def check_signed(chain: Sequence[Certificate], roots: Sequence[Certificate]) -> None:
    """CertificateError unless each certificate of a leaf's chain is signed by the next, and the
    last by a root (or is one)."""
    check_chain_order(chain)
    last = chain[-1]
    if last not in roots and not any(_signed(last, root) for root in roots):
        raise _no_issuer(last)


def check_path_at(path: Sequence[Certificate], now: float) -> None:
    """CertificateError names the certificate of the path that is not valid at `now` (Unix s)."""
    for certificate in path:
        check_valid_at(certificate, now, f"certificate {subject_of(certificate)!r}")


def check_may_name(path: Sequence[Certificate], trust_domain: str) -> None:
    """CertificateError if name constraints of the path forbid URIs of the trust domain.

    RFC 5280 section 4.2.1.10: a constraint on URIs is one on their host part; one that begins with
    a dot means any subdomain. Such leaves would be refused in every handshake.
    """
    for certificate in path:
        permitted, excluded = _uri_constraints(certificate)
        forbidden = any(_covers(host, trust_domain) for host in excluded)
        if forbidden or (permitted and not any(_covers(host, trust_domain) for host in permitted)):
            raise CertificateError(
                f"certificate {subject_of(certificate)!r} does not allow identities of trust "
                f"domain {trust_domain} (name constraints)"
            )


def _walk(
    certificate: Certificate, candidates: Sequence[Certificate], roots: frozenset[Certificate]
) -> tuple[Certificate, ...]:
    """The shortest path, breadth first: cross-certified authorities have several, some to nowhere.

    Each candidate is reached once, so that a folder of many costs no more than its square.
    """
    reached = {certificate}
    paths: list[tuple[Certificate, ...]] = [(certificate,)]
    for _ in range(MAX_DEPTH):
        for path in paths:
            if path[-1] in roots:
                return path
        longer: list[tuple[Certificate, ...]] = []
        for path in paths:
            for issuer in candidates:
                if issuer not in reached and _signed(path[-1], issuer):
                    reached.add(issuer)
                    longer.append((*path, issuer))
        if not longer:
            break
        paths = longer
    raise _no_issuer(paths[-1][-1])


def _check_key(certificate: Certificate, name: str) -> None:
    """What Go's and BoringSSL's verifiers refuse."""
    try:
        public_key(certificate)
    except CertificateError as error:
        raise CertificateError(f"certificate {name!r}: {error}") from error


def _no_issuer(certificate: Certificate) -> CertificateError:
    name = subject_of(certificate)
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        return CertificateError(f"certificate {name!r} has a signature of no known kind: {error}")
    if isinstance(digest, hashes.SHA1 | hashes.MD5):
        return CertificateError(
            f"certificate {name!r} is signed with {digest.name}, which no verifier takes any more: "
            "have it issued anew"
        )
    return CertificateError(
        f"no trusted root signs {name!r}: its issuer {certificate.issuer.rfc4514_string()!r} is "
        "neither among the roots nor in the chain"
    )


def _signed(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _uri_constraints(certificate: Certificate) -> tuple[list[str], list[str]]:
    try:
        found = extensions(certificate).get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return [], []
    return _uris(found.permitted_subtrees), _uris(found.excluded_subtrees)


def _uris(names: Iterable[x509.GeneralName] | None) -> list[str]:
    return [name.value for name in names or () if isinstance(name, x509.UniformResourceIdentifier)]


def _covers(constraint: str, host: str) -> bool:
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint
