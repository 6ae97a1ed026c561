"""Private keys: made, written as PEM (PKCS#8, with a passphrase where they rest), read back.

Also the one rule for which keys a mesh certificate may carry: those that Envoy, gRPC and OpenSSL
all take. Knows nothing of certificates.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from certs.errors import CertificateError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES = ("secp256r1", "secp384r1")
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192


def generate_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key: 20 times cheaper to make and to sign with than RSA."""
    return ec.generate_private_key(ec.SECP256R1())


def check_public_key(key: PublicKeyTypes) -> PublicKey:
    """Gives the key back if the mesh takes its kind; CertificateError otherwise.

    Ed25519 is refused: BoringSSL (Envoy, gRPC) does not offer it in a TLS handshake by default.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise CertificateError(f"EC key on curve {key.curve.name}: only P-256 and P-384")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise CertificateError(
                f"RSA key of {key.key_size} bits: only {_MIN_RSA_BITS} to {_MAX_RSA_BITS}"
            )
        return key
    raise CertificateError(
        f"{type(key).__name__} is not accepted: use EC P-256 or P-384, or RSA of 2048 bits or more"
    )


def key_to_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 PEM; encrypted if there is a passphrase."""
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase:
        encryption = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def is_encrypted(pem: bytes) -> bool:
    """Whether a private key (PEM) needs a passphrase: PKCS#8's way, or the older one of OpenSSL."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def key_from_pem(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Reads a private key; CertificateError says whether the passphrase or the PEM is wrong."""
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError as error:
        # cryptography's way to say: encrypted without, or plain with a passphrase.
        needed = "is encrypted: a passphrase is needed" if not passphrase else "is not encrypted"
        raise CertificateError(f"private key {needed}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "PEM, or wrong passphrase" if passphrase else "PEM"
        raise CertificateError(f"private key is not valid {reason}") from error
    check_public_key(key.public_key())
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return key


def public_key_der(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo: equal bytes exactly when the keys are equal."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
