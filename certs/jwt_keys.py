"""JSON Web Key sets (RFC 7517), and whether one of their keys signed a token.

joserfc knows the algorithms; here is which key may speak for which token: Envoy's rules, and no
algorithm is ever taken from the token's word alone. Knows nothing of where a set came from.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from certs.errors import CertificateError
from certs.jwt_token import NO_MATCHING_KEY, VERIFICATION_FAILS, Jwt, JwtError

MAX_JWKS_BYTES = 1 << 20
MAX_KEYS = 1000
_MIN_RSA_BITS = 2048
_MIN_OCT_BYTES = 14
_ED25519_SIGNATURE_BYTES = 64
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
# Envoy reads key sets with protobuf's JSON parser, which takes a comma before the end of a list;
# such sets are about.
_LAST_COMMA = re.compile(r",(\s*[\]}])")

_Key = RSAKey | ECKey | OKPKey | OctKey
_Members = Mapping[str, object]
_Given = dict[str, str | list[str]]


class Algorithm(Protocol):
    """What is needed of joserfc's algorithms."""

    def verify(self, msg: bytes, sig: bytes, key: Any) -> bool: ...


class WeakKey(CertificateError):
    """A key that is well-formed, but too short to prove anything; Envoy believes it."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key: `kid` and `alg` are '' where the set does not say; `algorithms` is what the key's
    kind and `alg` allow. Private members of the JWK were never read."""

    kid: str
    alg: str
    algorithms: Mapping[str, Algorithm]
    key: _Key

    def matches(self, token: Jwt) -> bool:
        """Envoy's rule: a kid or alg that one side leaves out fits every other."""
        return (not token.kid or not self.kid or self.kid == token.kid) and (
            not self.alg or self.alg == token.alg
        )

    def signed(self, token: Jwt) -> bool:
        algorithm = self.algorithms.get(token.alg)
        return algorithm is not None and algorithm.verify(token.signed, token.signature, self.key)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set, at least one."""

    keys: tuple[VerifyingKey, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> KeySet:
        """Reads a JWKS document, or a JSON object {kid: PEM certificate}.

        Keys of kinds that Weft does not know are left out, as the standard says (RFC 7517
        section 5). CertificateError (Envoy's words): no such document, or no usable key in it.
        """
        document = _document(text)
        members = document.get("keys")
        if members is None and _are_certificates(document):
            return cls(tuple(_of_certificate(kid, pem) for kid, pem in document.items()))
        if members is None:
            raise CertificateError("Jwks does not have [keys] field")
        if not isinstance(members, list):
            raise CertificateError("[keys] in Jwks is not an array")
        if len(members) > MAX_KEYS:
            raise CertificateError(f"Jwks has more than {MAX_KEYS} keys")
        return cls.of(members)

    @classmethod
    def of(cls, members: list[object]) -> KeySet:
        """The usable ones of parsed JWKs; CertificateError, with the first fault, if none is."""
        keys: list[VerifyingKey] = []
        faults: list[CertificateError] = []
        for member in members:
            try:
                if isinstance(member, dict):
                    keys.append(read_key(member))
            except CertificateError as error:
                faults.append(error)
        if not keys:
            because = f": {faults[0]}" if faults else ""
            kind = WeakKey if any(isinstance(one, WeakKey) for one in faults) else CertificateError
            raise kind(f"Jwks doesn't have any valid public key{because}")
        return cls(tuple(keys))

    def verify(self, token: Jwt) -> None:
        """JwtError unless one of the keys signed the token. Times and audiences are not looked at
        here: see Jwt.check_time and check_audience."""
        reason = NO_MATCHING_KEY
        for key in self.keys:
            if key.matches(token):
                if key.signed(token):
                    return
                reason = _failure(key, token)
        raise JwtError(reason)


def _failure(key: VerifyingKey, token: Jwt) -> str:
    if isinstance(key.key, OKPKey) and len(token.signature) != _ED25519_SIGNATURE_BYTES:
        return "Jwt ED25519 signature is wrong length"
    return VERIFICATION_FAILS


def read_key(jwk: _Members) -> VerifyingKey:
    """One JWK. CertificateError names the member that is missing or not acceptable."""
    kty, alg = _text(jwk, "kty"), _text(jwk, "alg", "")
    read = _KINDS.get(kty)
    if read is None:
        raise CertificateError(f"[kty] {kty[:40]!a} is not supported in [keys]")
    try:
        key, names = read(jwk)
    except (ValueError, TypeError, JoseError, binascii.Error) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"key of [kty] {kty} has a parse error: {error}") from error
    if alg and alg not in names:
        raise CertificateError(f"[alg] {alg[:40]!a} does not fit a key of [kty] {kty}")
    return VerifyingKey(_text(jwk, "kid", ""), alg, _algorithms((alg,) if alg else names), key)


def _rsa(jwk: _Members) -> tuple[_Key, tuple[str, ...]]:
    # RFC 7518 section 3.3; looked at before joserfc, which would warn instead.
    if len(_text(jwk, "n")) * 6 < _MIN_RSA_BITS:
        raise WeakKey(f"RSA key has less than {_MIN_RSA_BITS} bits")
    return RSAKey.import_key(_public(jwk, "kty", "n", "e")), _RSA_ALGORITHMS


def _ec(jwk: _Members) -> tuple[_Key, tuple[str, ...]]:
    curve = _text(jwk, "crv", "P-256")
    if curve not in _CURVES:
        raise CertificateError(f"[crv] {curve[:40]!a} is not supported for an EC key")
    members = _public(jwk, "kty", "x", "y") | {"crv": curve}
    return ECKey.import_key(members), (_CURVES[curve],)


def _okp(jwk: _Members) -> tuple[_Key, tuple[str, ...]]:
    curve = _text(jwk, "crv")
    if curve != "Ed25519":
        raise CertificateError(f"[crv] {curve[:40]!a} is not supported for an OKP key")
    return OKPKey.import_key(_public(jwk, "kty", "crv", "x")), ("EdDSA",)


def _oct(jwk: _Members) -> tuple[_Key, tuple[str, ...]]:
    secret = _text(jwk, "k")
    if len(secret) * 6 // 8 < _MIN_OCT_BYTES:
        raise WeakKey(f"[k] is shorter than {_MIN_OCT_BYTES} bytes")
    return OctKey.import_key(_public(jwk, "kty", "k")), _HMAC_ALGORITHMS


def _public(jwk: _Members, *names: str) -> _Given:
    """These members alone: not `d`, nor a `use` that joserfc would judge for itself. Configurations
    break long ones into lines."""
    return {name: "".join(_text(jwk, name).split()) for name in names}


_KINDS = {"RSA": _rsa, "EC": _ec, "OKP": _okp, "oct": _oct}


def _algorithms(names: tuple[str, ...]) -> Mapping[str, Algorithm]:
    return {name: JWSRegistry.algorithms[name] for name in names}


def _text(jwk: _Members, name: str, default: str | None = None) -> str:
    value = jwk.get(name, default)
    if value is None:
        raise CertificateError(f"[{name}] is missing in a key")
    if not isinstance(value, str):
        raise CertificateError(f"[{name}] is not a string in a key")
    return value


def _document(text: str | bytes) -> _Members:
    if len(text) > MAX_JWKS_BYTES:
        raise CertificateError(f"Jwks is larger than {MAX_JWKS_BYTES} bytes")
    document = _json(text)
    if document is None:
        document = _json(_LAST_COMMA.sub(r"\1", _decoded(text)))
    if not isinstance(document, dict):
        raise CertificateError("Jwks is an invalid JSON")
    return document


def _json(text: str | bytes) -> object:
    """Line ends in strings are no JSON, but Envoy takes them."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _are_certificates(document: _Members) -> bool:
    return bool(document) and all(
        kid and isinstance(pem, str) and pem.startswith(_CERTIFICATE)
        for kid, pem in document.items()
    )


def _of_certificate(kid: str, pem: object) -> VerifyingKey:
    """Envoy's: only RSA certificates in this form."""
    try:
        key = x509.load_pem_x509_certificate(str(pem).encode()).public_key()
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError(f"X509 parse pubkey fails for {kid[:40]!a}") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise CertificateError(f"certificate of {kid[:40]!a} has no RSA key of 2048 bits")
    return VerifyingKey(kid, "", _algorithms(_RSA_ALGORITHMS), RSAKey.import_key(key))
