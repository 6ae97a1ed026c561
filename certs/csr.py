"""Certificate signing requests (PKCS#10): made by a workload, opened by the authority.

A CSR proves possession of a key. The names that it asks for are never what is issued; but one that
asks for somebody else's identity is refused, as it was made for another place or with ill intent.
"""

from __future__ import annotations

from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from certs import der
from certs.errors import CertificateError
from certs.keys import PrivateKey, PublicKey, check_public_key
from certs.spiffe import SpiffeId
from certs.template import general_names

MAX_CSR_BYTES = 16 * 1024
_USUAL = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: ec.ECDSA(hashes.SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: ec.ECDSA(hashes.SHA384()),
}
_SAN_OID = der.object_id("2.5.29.17")

Reason = Literal["oversized", "malformed", "signature", "key", "identity"]


class CsrRefused(CertificateError):
    """A CSR that is not accepted. `reason` is one word of five, fit to label a counter."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CertificateRequest:
    """A CSR whose holder has the private key, `key` being the public one."""

    __slots__ = ("_body", "_request", "key")

    def __init__(
        self, key: PublicKey, request: x509.CertificateSigningRequest, body: bytes
    ) -> None:
        """body: the bytes of the request that are signed."""
        self.key = key
        self._request = request
        self._body = body

    @property
    def asked(self) -> tuple[str, ...]:
        """The URI names that it asks for, which prove nothing. CsrRefused if they are malformed."""
        if _SAN_OID not in self._body:
            return ()
        try:
            extensions = self._request.extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise CsrRefused("malformed", f"CSR has malformed extensions: {error}") from error
        return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))

    def check_identity(self, identity: SpiffeId) -> None:
        """CsrRefused if it asks for any identity but this one; asking for none is fine."""
        if self._names_only(identity):
            return
        for uri in self.asked:
            if uri != str(identity):
                raise CsrRefused(
                    "identity", f"CSR asks for identity {uri[:300]!a}, but its sender is {identity}"
                )

    def _names_only(self, identity: SpiffeId) -> bool:
        """Whether its one alternative name is this identity, written as our proxies write it.

        The usual case in 1 us; objects for the extensions would take 15.
        """
        after = self._body.partition(_SAN_OID)[2]
        value = der.octet_string(general_names(identity))
        alone = after.startswith((value, der.BOOLEAN_TRUE + value))
        return alone and _SAN_OID not in after


def make_csr(key: PrivateKey, identity: SpiffeId | None = None) -> bytes:
    """A PEM request for `key`; the identity is a courtesy to authorities that look at it, and left
    out by who does not know its own yet."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if identity is not None:
        name = x509.UniformResourceIdentifier(str(identity))
        # RFC 5280 section 4.2.1.6: critical, as the subject is empty.
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def open_csr(pem: bytes) -> CertificateRequest:
    """Reads a PEM request and verifies that its holder has the private key.

    CsrRefused: too large, not a CSR, a signature that does not verify, a kind of key that the mesh
    does not take.
    """
    if len(pem) > MAX_CSR_BYTES:
        raise CsrRefused("oversized", f"CSR is larger than {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise CsrRefused("malformed", "CSR is not a PEM-encoded PKCS#10 request") from error
    try:
        key = check_public_key(request.public_key())
    except CertificateError as error:
        raise CsrRefused("key", f"CSR's key is not accepted: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CsrRefused("malformed", f"CSR's key cannot be read: {error}") from error
    body = request.tbs_certrequest_bytes
    _check_signature(request, key, body)
    return CertificateRequest(key, request, body)


def _check_signature(request: x509.CertificateSigningRequest, key: PublicKey, body: bytes) -> None:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            # As `is_signature_valid`, which would decode the key a second time: 20 us of 105.
            _verify_ecdsa(request, key, body)
        elif not request.is_signature_valid:
            raise InvalidSignature
    except InvalidSignature as error:
        raise CsrRefused("signature", "CSR's signature does not verify with its own key") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CsrRefused("malformed", f"CSR's signature cannot be read: {error}") from error


def _verify_ecdsa(
    request: x509.CertificateSigningRequest, key: ec.EllipticCurvePublicKey, body: bytes
) -> None:
    algorithm = _USUAL.get(request.signature_algorithm_oid)
    if algorithm is None:
        other = request.signature_algorithm_parameters
        if not isinstance(other, ec.ECDSA):
            raise InvalidSignature
        algorithm = other
    key.verify(request.signature, body, algorithm)
