"""The SPIFFE bundle of one trust domain as a JWKS document (SPIFFE Trust Domain and Bundle, 4).

What meshes that federate give each other: the roots of X.509-SVIDs, the keys of JWT-SVIDs, a
sequence number, and how often to look again. Knows nothing of where documents come from.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey, RSAKey

from certs.errors import CertificateError
from certs.jwt_keys import VerifyingKey, read_key
from certs.x509 import Certificate, check_trust_anchor

MAX_BUNDLE_BYTES = 1 << 20
MAX_KEYS = 1000
X509_SVID = "x509-svid"
JWT_SVID = "jwt-svid"
# Those that a JWK has a name for and TLS stacks verify with, as X.509 calls them.
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_KEY_MEMBERS = ("kty", "crv", "x", "y", "n", "e")


@dataclass(frozen=True, slots=True)
class SpiffeBundle:
    """Roots each once, in their order; either kind of key may be absent. sequence and
    refresh_hint_s (seconds) are None where the document does not say."""

    roots: tuple[Certificate, ...]
    jwt_keys: tuple[VerifyingKey, ...] = ()
    sequence: int | None = None
    refresh_hint_s: int | None = None

    @classmethod
    def parse(cls, document: str | bytes) -> SpiffeBundle:
        """Reads a document strictly: a bundle with one bad key is refused whole, for half of a
        trust bundle is another one. Keys of other uses are ignored (section 4.2.2).
        CertificateError names the key by its number, from 0.
        """
        members = _members(document)
        keys = members.get("keys")
        if not isinstance(keys, list):
            raise CertificateError("bundle has no list [keys]")
        if len(keys) > MAX_KEYS:
            raise CertificateError(f"bundle has more than {MAX_KEYS} keys")
        roots: dict[Certificate, None] = {}
        jwt_keys: list[VerifyingKey] = []
        for number, key in enumerate(keys):
            try:
                _read(key, roots, jwt_keys)
            except CertificateError as error:
                raise CertificateError(f"key {number} of the bundle: {error}") from error
        return cls(
            tuple(roots),
            tuple(jwt_keys),
            _integer(members, "spiffe_sequence"),
            _integer(members, "spiffe_refresh_hint"),
        )

    def check_usable(self) -> None:
        """CertificateError if nobody's certificate could be verified with it."""
        if not self.roots:
            raise CertificateError(f"bundle has no key of use {X509_SVID}")


def emit_bundle(roots: Iterable[Certificate], sequence: int, refresh_hint_s: int) -> bytes:
    """The document of these roots; the same for the same arguments."""
    document = {
        "keys": [_emit(root) for root in roots],
        "spiffe_sequence": sequence,
        "spiffe_refresh_hint": refresh_hint_s,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _members(document: str | bytes) -> Mapping[str, object]:
    if len(document) > MAX_BUNDLE_BYTES:
        raise CertificateError(f"bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    try:
        members = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise CertificateError("bundle is not JSON") from error
    if not isinstance(members, dict):
        raise CertificateError("bundle is not a JSON object")
    return members


def _read(key: object, roots: dict[Certificate, None], jwt_keys: list[VerifyingKey]) -> None:
    if not isinstance(key, dict):
        raise CertificateError("it is not a JSON object")
    if key.get("use") == X509_SVID:
        roots[_root(key)] = None
    elif key.get("use") == JWT_SVID:
        verifying = read_key(key)
        if not verifying.kid:
            raise CertificateError("[kid] is missing")  # section 4.2.3 of JWT-SVID
        jwt_keys.append(verifying)


def _root(key: Mapping[str, object]) -> Certificate:
    """X.509-SVID, section 6.2: x5c has exactly one certificate, that of the key."""
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        found = len(chain) if isinstance(chain, list) else "no"
        raise CertificateError(f"[x5c] needs exactly one certificate, and there are {found}")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except (ValueError, binascii.Error, x509.InvalidVersion) as error:
        raise CertificateError("[x5c] holds no certificate in base64") from error
    check_trust_anchor(certificate)
    real = _jwk(certificate)
    for member in _KEY_MEMBERS:
        if key.get(member) != real.get(member):
            raise CertificateError(f"[{member}] is not that of the certificate in [x5c]")
    return certificate


def _emit(root: Certificate) -> dict[str, object]:
    der = base64.b64encode(root.public_bytes(Encoding.DER)).decode("ascii")
    return {"use": X509_SVID, **_jwk(root), "x5c": [der]}


def _jwk(certificate: Certificate) -> dict[str, object]:
    """CertificateError: a key of a kind, curve or size that nobody should trust or can name."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CertificateError(f"certificate's public key: {error}") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            message = f"EC key on curve {key.curve.name}: only P-256, P-384 and P-521"
            raise CertificateError(message)
        return {**ECKey.import_key(key).as_dict(private=False)}
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return {**RSAKey.import_key(key).as_dict(private=False)}
    raise CertificateError("certificate's key is neither EC nor RSA of 2048 bits or more")


def _integer(members: Mapping[str, object], name: str) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CertificateError(f"[{name}] is not a whole number")
    return value
