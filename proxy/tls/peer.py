"""A certificate as facts: whom it is for, who signed it, how long it is good.

Reads DER that OpenSSL has taken already; judges nothing and opens nothing.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID, ObjectIdentifier

from proxy.connection import PeerCertificate
from proxy.tls.names import Sans

# OpenSSL's short names where they are not RFC 4514's, as Envoy prints subjects.
_SHORT_NAMES = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
}
_SCHEMES = {
    "secp256r1": "ecdsa_secp256r1_sha256", "secp384r1": "ecdsa_secp384r1_sha384",
    "secp521r1": "ecdsa_secp521r1_sha512",
}  # fmt: skip
_KINDS = {"URI", "DNS", "EMAIL", "IP_ADDRESS"}
# DER tags of strings (X.680 section 8.4) that an OTHER_NAME may hold, and how they are encoded.
_STRINGS = {
    0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1A: "ascii",
    0x1C: "utf-32-be", 0x1E: "utf-16-be",
}  # fmt: skip


@lru_cache(maxsize=1024)
def certificate_facts(der: bytes) -> PeerCertificate:
    """Raises ValueError for what cannot be read. Peers come back with the same certificates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what OpenSSL has taken is not complained of
        certificate = x509.load_der_x509_certificate(der)
        sans = _sans(certificate)
        return PeerCertificate(
            uri_sans=sans.get("URI", ()),
            dns_sans=sans.get("DNS", ()),
            subject=_distinguished_name(certificate.subject),
            issuer=_distinguished_name(certificate.issuer),
            serial=_serial(certificate.serial_number),
            sha256=hashlib.sha256(der).hexdigest(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            not_before=certificate.not_valid_before_utc.timestamp(),
            ip_sans=sans.get("IP_ADDRESS", ()),
            email_sans=sans.get("EMAIL", ()),
            der=der,
            scheme=_scheme(certificate),
            other_sans=tuple(
                name for kind, names in sans.items() if kind not in _KINDS for name in names
            ),
        )


@lru_cache(maxsize=1024)
def sans_of(der: bytes) -> Sans:
    """All its names. Raises ValueError for what cannot be read."""
    return _sans(x509.load_der_x509_certificate(der))


def _serial(number: int) -> str:
    """Bytes in hexadecimal, as OpenSSL writes them."""
    text = f"{abs(number):x}"
    return ("-" if number < 0 else "") + text.zfill(len(text) + len(text) % 2)


def _scheme(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _SCHEMES.get(key.curve.name, "")
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else ""


def _sans(certificate: x509.Certificate) -> Sans:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return {}
    named = sorted(_named(extension.value), key=lambda pair: pair[0])
    return {kind: tuple(name for _, name in pairs) for kind, pairs in groupby(named, _kind)}


def _kind(pair: tuple[str, str]) -> str:
    return pair[0]


def _named(names: Iterable[x509.GeneralName]) -> Iterable[tuple[str, str]]:
    """Types that Envoy does not know either, directory names for one, are no names."""
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier):
            yield "URI", name.value
        elif isinstance(name, x509.DNSName):
            yield "DNS", name.value
        elif isinstance(name, x509.RFC822Name):
            yield "EMAIL", name.value
        elif isinstance(name, x509.IPAddress):
            yield "IP_ADDRESS", str(name.value)
        elif isinstance(name, x509.OtherName) and (text := _string(name.value)) is not None:
            yield name.type_id.dotted_string, text


def _string(der: bytes) -> str | None:
    """The text of a DER string; None for values of other types."""
    encoding = _STRINGS.get(der[0]) if len(der) > 1 else None
    if encoding is None:
        return None
    start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    try:
        return der[start:].decode(encoding)
    except UnicodeDecodeError:
        return None


def _distinguished_name(name: x509.Name) -> str:
    """RFC 2253, as Envoy has it: control characters and what is not ASCII, byte by byte."""
    overrides: dict[ObjectIdentifier, str] = dict(_SHORT_NAMES)
    text = name.rfc4514_string(overrides)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return letter
    return "".join(f"\\{byte:02X}" for byte in letter.encode())
