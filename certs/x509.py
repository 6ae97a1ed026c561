"""Facts of certificates: PEM chains, names, validity, and whether one is a leaf or may sign.

X.509-SVID standard, sections 2 to 5. It reads and judges; it neither makes certificates nor knows
files. Signatures of a peer's chain are verified by the TLS stack, not here.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertificateError
from certs.keys import PublicKey, check_public_key, public_key_der
from certs.spiffe import SpiffeId

# One of its own for annotations elsewhere, so that only certs/ names the library's module.
Certificate = x509.Certificate

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BEGIN_LINE = "-----BEGIN CERTIFICATE-----\n"
_END_LINE = "-----END CERTIFICATE-----\n"
_BLOCK = re.compile(_BEGIN + rb".*?-----END CERTIFICATE-----", re.DOTALL)


def chain_from_pem(pem: bytes, what: str = "certificate chain") -> tuple[Certificate, ...]:
    """The certificates of a PEM text in their order, other blocks (keys) aside; at least one.

    CertificateError names `what`, e.g. the file that the text came from, and the bad certificate.
    """
    blocks = _BLOCK.findall(pem)
    if not blocks and _BEGIN not in pem:
        raise CertificateError(f"{what} holds no PEM certificate")
    if pem.count(_BEGIN) != b"".join(blocks).count(_BEGIN):
        # The library would leave an unfinished last block out without a word.
        raise CertificateError(f"{what} is cut off: its last certificate has no END line")
    return tuple(
        _certificate(block, f"certificate {number} of {what}")
        for number, block in enumerate(blocks, 1)
    )


def _certificate(block: bytes, what: str) -> Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(block)
        # The library reads names when somebody asks, and then what is broken would surprise.
        _ = certificate.subject, certificate.issuer
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError(f"{what} is corrupt") from error
    return certificate


def certificate_to_pem(certificate: Certificate) -> str:
    """One PEM block, ending with a line feed."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def der_to_pem(data: bytes) -> str:
    """The same of a certificate's DER (RFC 7468): 64 characters a line, which are 48 bytes."""
    lines = [b2a_base64(data[at : at + 48]) for at in range(0, len(data), 48)]
    return f"{_BEGIN_LINE}{b''.join(lines).decode('ascii')}{_END_LINE}"


def chain_to_pem(chain: Iterable[Certificate]) -> bytes:
    """The certificates' PEM blocks, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def validity(certificate: Certificate) -> tuple[float, float]:
    """(not before, not after) in Unix seconds."""
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def check_valid_at(certificate: Certificate, now: float, what: str = "certificate") -> None:
    """CertificateError if `now` (Unix seconds) lies outside of the certificate's validity."""
    not_before, not_after = validity(certificate)
    if now < not_before:
        raise CertificateError(
            f"{what} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC:"
            " check the clock"
        )
    if now > not_after:
        raise CertificateError(
            f"{what} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        )


def extensions(certificate: Certificate) -> x509.Extensions:
    """The extensions; CertificateError where they are malformed (found only when read)."""
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CertificateError(f"certificate has malformed extensions: {error}") from error


def uri_sans(certificate: Certificate) -> tuple[str, ...]:
    """The URIs of the subject alternative name."""
    try:
        names = extensions(certificate).get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier))


def dns_sans(certificate: Certificate) -> tuple[str, ...]:
    """The DNS names of the subject alternative name."""
    try:
        names = extensions(certificate).get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.DNSName))


def spiffe_id(certificate: Certificate) -> SpiffeId:
    """The certificate's identity: its one and only URI SAN (X.509-SVID, section 2)."""
    uris = uri_sans(certificate)
    if len(uris) != 1:
        raise CertificateError(
            f"certificate has {len(uris)} URI names: an SVID has exactly one, its SPIFFE ID"
        )
    return SpiffeId.parse(uris[0])


def public_key(certificate: Certificate) -> PublicKey:
    """The certificate's key, of a kind that the mesh takes."""
    try:
        return check_public_key(certificate.public_key())
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CertificateError(f"certificate's public key: {error}") from error


def matches_key(certificate: Certificate, key: PublicKey) -> bool:
    """True if the certificate is for this public key."""
    try:
        return public_key_der(public_key(certificate)) == public_key_der(key)
    except CertificateError:
        # Not a kind of key that the mesh takes, so not this one.
        return False


def subject_of(certificate: Certificate) -> str:
    """The subject as RFC 4514 writes it; '' where it is empty (SVIDs have none)."""
    return certificate.subject.rfc4514_string()


def path_length(certificate: Certificate) -> int | None:
    """How many authorities may stand below it; None: as many as there are."""
    try:
        basic = extensions(certificate).get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return None
    return basic.value.path_length


def issuer_key_id(issuer: Certificate) -> bytes:
    """What its leaves name it by (RFC 5280 section 4.2.1.1): its own key identifier."""
    try:
        found = extensions(issuer).get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        found = x509.SubjectKeyIdentifier.from_public_key(public_key(issuer))
    return found.digest


def fingerprint(certificate: Certificate) -> str:
    """SHA-256 of the whole certificate, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def check_trust_anchor(certificate: Certificate, what: str = "root certificate") -> None:
    """CertificateError if it says of itself that it may not sign.

    RFC 5280 section 6.1.1 (d): of an anchor only name and key count; many real roots have no
    extensions at all, and those are taken.
    """
    if _has_extension(certificate, x509.BasicConstraints) and not _is_ca(certificate):
        raise CertificateError(f"{what} is not a CA certificate (basicConstraints CA:FALSE)")
    usage = _key_usage(certificate)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateError(f"{what} may not sign: key usage has no keyCertSign")


def may_sign_lists(certificate: Certificate) -> bool:
    """Whether its revocation lists count (cRLSign, RFC 5280 section 4.2.1.3)."""
    usage = _key_usage(certificate)
    return usage is None or usage.crl_sign


def check_authority(certificate: Certificate, what: str = "signing certificate") -> None:
    """CertificateError unless it may sign others: CA:TRUE and keyCertSign (sections 4.1, 4.3)."""
    if not _is_ca(certificate):
        said = "CA:FALSE" if _has_extension(certificate, x509.BasicConstraints) else "are absent"
        raise CertificateError(f"{what} is not a CA certificate (basicConstraints {said})")
    usage = _key_usage(certificate)
    if usage is None or not usage.key_cert_sign:
        why = "there is no key usage" if usage is None else "key usage has no keyCertSign"
        raise CertificateError(f"{what} may not sign: {why}")


def check_svid(chain: Sequence[Certificate]) -> SpiffeId:
    """The identity of an X.509-SVID, leaf first, checked as section 5.2 says.

    The rest of the chain must be authorities. CertificateError names the first fault.
    """
    if not chain:
        raise CertificateError("certificate chain is empty")
    leaf, *signers = chain
    identity = spiffe_id(leaf)
    if not identity.path:
        raise CertificateError(f"leaf certificate's SPIFFE ID {identity} has no path")
    _check_leaf(leaf)
    for signer in signers:
        check_authority(signer)
    return identity


def check_chain_order(chain: Sequence[Certificate]) -> None:
    """CertificateError unless each certificate is signed by the next one."""
    for index, (certificate, issuer) in enumerate(pairwise(chain)):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise CertificateError(
                f"certificate {index + 1} of the chain is not signed by the next one"
            ) from error


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether its name and signature say so."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_leaf(leaf: Certificate) -> None:
    if _is_ca(leaf):
        raise CertificateError("leaf certificate must not be a CA certificate")
    usage = _key_usage(leaf)
    if usage is None or not usage.digital_signature:
        raise CertificateError("leaf certificate's key usage has no digitalSignature")
    if usage.key_cert_sign or usage.crl_sign:
        raise CertificateError("leaf certificate must not have keyCertSign or cRLSign")


def _has_extension(certificate: Certificate, kind: type[x509.ExtensionType]) -> bool:
    return any(isinstance(extension.value, kind) for extension in extensions(certificate))


def _is_ca(certificate: Certificate) -> bool:
    try:
        basic = extensions(certificate).get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return basic.value.ca


def _key_usage(certificate: Certificate) -> x509.KeyUsage | None:
    try:
        return extensions(certificate).get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
