"""Certificates and keys that a user brings for TLS: whether they are what they should be.

Not the mesh's own: no SPIFFE ID is asked for, and any authority may have signed them. Pure.
"""

from __future__ import annotations

import re

from cryptography import x509

from certs.errors import CertificateError
from certs.keys import key_from_pem
from certs.x509 import chain_from_pem, matches_key, subject_of

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def check_pair(chain_pem: bytes, key_pem: bytes) -> None:
    """CertificateError unless the key, unencrypted, is that of the chain's first certificate."""
    leaf = chain_from_pem(chain_pem)[0]
    if not matches_key(leaf, key_from_pem(key_pem).public_key()):
        raise CertificateError(f"the private key is not that of the certificate {subject_of(leaf)}")


def check_roots(pem: bytes) -> None:
    """CertificateError unless these are certificates to verify others by."""
    chain_from_pem(pem, "the list of authorities")


def dns_names(chain_pem: bytes) -> tuple[str, ...]:
    """The host names of a chain's first certificate, '*.a.com' too, in lower case."""
    leaf = chain_from_pem(chain_pem)[0]
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))


def check_lists(pem: bytes) -> None:
    """CertificateError unless these are revocation lists."""
    blocks = _LIST.findall(pem)
    if not blocks:
        raise CertificateError("no PEM revocation list (X509 CRL)")
    for number, block in enumerate(blocks, 1):
        try:
            x509.load_pem_x509_crl(block)
        except ValueError as error:
            raise CertificateError(f"revocation list {number} is corrupt") from error
