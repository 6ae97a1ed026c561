"""Says what is wrong with certificates and keys in PEM, as Envoy does when it loads them.

Whether a certificate is trusted or expired shows in a handshake, not here. The library is loaded
at the first certificate: a plaintext proxy never pays for it.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@lru_cache(maxsize=64)
def roots_problem(pem: bytes) -> str | None:
    """None if `pem` holds at least one certificate and all of them can be read."""
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            # Old roots have serial numbers that RFC 5280 forbids; Envoy takes them too.
            warnings.simplefilter("ignore")
            x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return f"holds no certificates that can be read: {_one_line(error)}"
    return None


def crl_problem(pem: bytes) -> str | None:
    """None if `pem` is a revocation list that can be read."""
    from cryptography import x509

    try:
        x509.load_pem_x509_crl(pem)
    except ValueError as error:
        return f"is no revocation list in PEM that can be read: {_one_line(error)}"
    return None


def from_pkcs12(data: bytes, password: bytes | None) -> tuple[bytes, bytes]:
    """The certificate chain and the private key of a PKCS #12 store, in PEM. ValueError says what
    is wrong with it."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        pkcs12,
    )

    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, password)
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot be read: {_one_line(error)}") from None
    if key is None or leaf is None:
        raise ValueError("must hold a certificate and its private key")
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, *others))
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pair_problem(chain: bytes, key: bytes, password: bytes | None) -> str | None:
    """None if `key` is the private key of the first certificate of `chain`."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"the certificate chain cannot be read: {_one_line(error)}"
    if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return "only RSA and ECDSA certificates are supported"
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name not in _CURVES:
        return f"only ECDSA keys of P-256, P-384 and P-521 are supported, not {public.curve.name}"
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < 2048:
        return f"an RSA key must have 2048 bits or more, has {public.key_size}"
    try:
        private = load_pem_private_key(key, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's words on a wrong password or form; none of them hold the key.
        return f"the private key cannot be read: {_one_line(error)}"
    return None if private.public_key() == public else "the private key is of another certificate"


def _one_line(error: Exception) -> str:
    """The library's reason without its advice to programmers."""
    return " ".join(str(error).split()).partition(" See http")[0][:200]
