"""Certificate signing requests (PKCS#10): made by a workload, opened by the authority.

A CSR proves possession of a key and nothing else: whatever names it asks for are not even read.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertificateError
from certs.keys import PrivateKey, PublicKey, check_public_key
from certs.spiffe import SpiffeId

MAX_CSR_BYTES = 16 * 1024


def make_csr(key: PrivateKey, identity: SpiffeId) -> bytes:
    """A PEM request for `key`; the identity is a courtesy to authorities that look at it."""
    name = x509.UniformResourceIdentifier(str(identity))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    # RFC 5280 section 4.2.1.6: critical, as the subject is empty.
    builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def read_csr(pem: bytes) -> PublicKey:
    """The public key of a PEM request whose holder proved to have the private key.

    CertificateError: too large, not a CSR, a signature that does not verify, a kind of key that
    the mesh does not take.
    """
    if len(pem) > MAX_CSR_BYTES:
        raise CertificateError(f"CSR is larger than {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError("CSR is not a PEM-encoded PKCS#10 request") from error
    try:
        key = check_public_key(request.public_key())
        signed = request.is_signature_valid
    except CertificateError as error:
        raise CertificateError(f"CSR's key is not accepted: {error}") from error
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CertificateError(f"CSR's key or signature cannot be read: {error}") from error
    if not signed:
        raise CertificateError("CSR's signature does not verify with its own key")
    return key
