"""X.509-SVIDs from a template: all that an issuer's leaves have in common is encoded once.

X.509-SVID standard, sections 2 to 4; RFC 5280. The library's builder takes 110 us for what is here
a join of byte strings; a test holds the two together, octet for octet. Who may get one is not its
business.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from certs import der
from certs.errors import CertificateError
from certs.keys import PrivateKey, PublicKey, public_key_der
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, issuer_key_id

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")

_VERSION_3 = b"\xa0\x03\x02\x01\x02"
_SERIAL = b"\x02\x14"
_EMPTY_NAME = der.sequence()
_URI, _DNS, _IP = 0x86, 0x82, 0x87


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = der.BOOLEAN_TRUE if critical else b""
    return der.sequence(der.object_id(oid), flag, der.octet_string(value))


_SUBJECT_ALT_NAME = der.object_id("2.5.29.17") + der.BOOLEAN_TRUE
# SHA-1, hence the lengths.
_SUBJECT_KEY_ID = _extension("2.5.29.14", der.octet_string(bytes(20)))[:-20]
_AUTHORITY_KEY_ID = "2.5.29.35"

_PURPOSES = der.sequence(der.object_id("1.3.6.1.5.5.7.3.1"), der.object_id("1.3.6.1.5.5.7.3.2"))
# X.509-SVID sections 4.1, 4.3 and 4.4: no authority, signs handshakes, of servers and clients.
_LEAF = (
    _extension("2.5.29.19", der.sequence(), critical=True)
    + _extension("2.5.29.15", der.bit_string(b"\x80", unused_bits=7), critical=True)
    + _extension("2.5.29.37", _PURPOSES)
)


class LeafTemplate:
    """Makes the leaves of one issuer. Immutable, and so safe in any thread."""

    __slots__ = ("_algorithm", "_authority_key_id", "_issued_by", "_sign")

    def __init__(self, issuer: Certificate, key: PrivateKey) -> None:
        self._sign = _signer(key)
        self._algorithm = _signature_algorithm(key)
        self._issued_by = self._algorithm + issuer.subject.public_bytes()
        key_id = der.tlv(0x80, issuer_key_id(issuer))
        self._authority_key_id = _extension(_AUTHORITY_KEY_ID, der.sequence(key_id))

    def make(
        self, public_key: PublicKey, names: bytes, not_before: float, not_after: float
    ) -> Certificate:
        """A signed leaf for the key. `names` are of `general_names`; times in Unix seconds."""
        data, _ = self.encode(public_key, names, not_before, not_after)
        return x509.load_der_x509_certificate(data)

    def encode(
        self, public_key: PublicKey, names: bytes, not_before: float, not_after: float
    ) -> tuple[bytes, int]:
        """The same as DER, and its serial number."""
        subject_key, serial = public_key_der(public_key), _serial()
        extensions = (
            _SUBJECT_KEY_ID
            + _key_id(subject_key)
            + _LEAF
            # RFC 5280 section 4.2.1.6: critical, as the subject is empty.
            + der.tlv(0x30, _SUBJECT_ALT_NAME + der.tlv(0x04, names))
            + self._authority_key_id
        )
        body = der.tlv(
            0x30,
            _VERSION_3
            + _SERIAL
            + serial
            + self._issued_by
            + _validity(int(not_before), int(not_after))
            + _EMPTY_NAME
            + subject_key
            + der.tlv(0xA3, der.tlv(0x30, extensions)),
        )
        signature = der.bit_string(self._sign(body))
        whole = der.tlv(0x30, body + self._algorithm + signature)
        return whole, int.from_bytes(serial, "big")


@lru_cache(maxsize=16)
def _validity(not_before: int, not_after: int) -> bytes:
    """Many are asked for within a second."""
    return der.sequence(der.time(not_before), der.time(not_after))


def general_names(
    identity: SpiffeId, dns_names: Sequence[str] = (), ip_addresses: Sequence[str] = ()
) -> bytes:
    """The content of the subject alternative name: the identity, and a server's further names.

    CertificateError: an identity without a path (X.509-SVID section 3.1), a malformed name.
    """
    if not dns_names and not ip_addresses:
        return _only(identity)
    return der.sequence(
        _uri(identity),
        *(der.tlv(_DNS, _dns_name(name)) for name in dns_names),
        *(der.tlv(_IP, _ip_address(text)) for text in ip_addresses),
    )


@lru_cache(maxsize=256)
def _only(identity: SpiffeId) -> bytes:
    """Needed twice for a certificate: the CSR must name nobody else."""
    return der.sequence(_uri(identity))


def _uri(identity: SpiffeId) -> bytes:
    if not identity.path:
        raise CertificateError(f"leaf identity {identity} needs a path")
    return der.tlv(_URI, str(identity).encode("ascii"))


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash to sign with: as strong as the key, as CAs usually do."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return hashes.SHA384()
    return hashes.SHA256()


def _signature_algorithm(key: PrivateKey) -> bytes:
    """RFC 5758 section 3.2 (no parameters); RFC 4055 section 5 (NULL)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        strong = isinstance(signature_hash(key), hashes.SHA384)
        return der.sequence(der.object_id(f"1.2.840.10045.4.3.{3 if strong else 2}"))
    return der.sequence(der.object_id("1.2.840.113549.1.1.11"), b"\x05\x00")


def _signer(key: PrivateKey) -> Callable[[bytes], bytes]:
    algorithm = signature_hash(key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        ecdsa = ec.ECDSA(algorithm)
        return lambda body: key.sign(body, ecdsa)
    return lambda body: key.sign(body, padding.PKCS1v15(), algorithm)


def _key_id(subject_key: bytes) -> bytes:
    """RFC 5280 section 4.2.1.2, method 1: SHA-1 of the key's bits, which the second element has."""
    algorithm, _ = der.content_bounds(subject_key)
    _, key = der.content_bounds(subject_key, algorithm)
    bits, end = der.content_bounds(subject_key, key)
    # The first octet counts unused bits.
    return hashlib.sha1(subject_key[bits + 1 : end], usedforsecurity=False).digest()


def _serial() -> bytes:
    """RFC 5280 section 4.1.2.2: 20 octets at most, positive; 158 bits of them are random."""
    octets = os.urandom(20)
    return bytes((octets[0] & 0x3F | 0x40,)) + octets[1:]


def _dns_name(name: str) -> bytes:
    if not _DNS_NAME.fullmatch(name):
        raise CertificateError(f"DNS name {name!a} cannot stand in a certificate")
    return name.encode("ascii")


def _ip_address(text: str) -> bytes:
    try:
        return ip_address(text).packed
    except ValueError as error:
        raise CertificateError(f"{text!a} is not an IP address") from error
